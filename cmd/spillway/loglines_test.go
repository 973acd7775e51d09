package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// loggedLine is a line of the log as the source and the runbook have it.
type loggedLine struct{ message, level string }

// logMethods are those of a slog.Logger that write a line of a level.
var logMethods = map[string]string{"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error"}

// TestRunbookHasEveryLogLine wants every message that a receiver can log in the
// runbook, with its level, and none there that nothing logs any more.
func TestRunbookHasEveryLogLine(t *testing.T) {
	logged := make(map[loggedLine]string)
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.isTest() || strings.HasPrefix(s.folder, "bench") || s.folder == "dispatch/store/storetest" {
			continue
		}
		wantLoggersByName(t, s)
		for line := range loggedIn(t, s) {
			logged[line] = s.name
		}
	}
	documented := runbookLines(t)
	if len(documented) < 20 {
		t.Errorf("only %d lines found in the runbook", len(documented))
	}
	byMessage := func(a, b loggedLine) int { return cmp.Compare(a.message, b.message) }
	for _, line := range slices.SortedFunc(maps.Keys(logged), byMessage) {
		if !documented[line] {
			t.Errorf("%s logs at %s what the section Log lines of %s has not: %s", logged[line], line.level, runbook, line.message)
		}
	}
	for _, line := range slices.SortedFunc(maps.Keys(documented), byMessage) {
		if _, is := logged[line]; !is {
			t.Errorf("%s has, at %s, what nothing logs: %s", runbook, line.level, line.message)
		}
	}
}

// wantLoggersByName wants every *slog.Logger to be named logger, as loggedIn
// expects, and no line to be written past them.
func wantLoggersByName(t *testing.T, s source) {
	isLogger := func(expr ast.Expr) bool {
		star, ok := expr.(*ast.StarExpr)
		return ok && isSelector(star.X, "slog", "Logger")
	}
	ast.Inspect(s.file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				if isLogger(n.Type) && name.Name != "logger" {
					t.Errorf("%s: the logger %s has to be named logger", s.name, name.Name)
				}
			}
		case *ast.CallExpr:
			for method := range logMethods {
				if isSelector(n.Fun, "slog", method) || isSelector(n.Fun, "slog", method+"Context") {
					t.Errorf("%s: slog.%s writes past the logger", s.name, method)
				}
			}
		}
		return true
	})
}

func isSelector(expr ast.Expr, of, name string) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == name && lastName(selector.X) == of
}

// lastName is the name that an expression such as s.logger ends with.
func lastName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		// logger.With(…) is one, too.
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "With" || f.Sel.Name == "WithGroup") {
			return lastName(f.X)
		}
		return lastName(e.Fun)
	}
	return ""
}

// runbookQuote is what stands between backquotes on one line of the runbook.
var runbookQuote = regexp.MustCompile("`([^`\n]+)`")

// runbookCommands are what a text between backquotes begins with that quotes no
// message, but tells what to type or to look for.
var runbookCommands = regexp.MustCompile(`^(/|[A-Z_]+=|--?[a-z]|-h HOST|\./bin|cat|certbot|chown|config|cp|dc|df|dmesg|docker|du|echo|for|grep|iostat|journalctl|` +
	`kill|lines|log|ls|metric|openssl|promtool|ps|redis-cli|runuser|sentinel|smartctl|spillway|ss|systemctl|xinfo)\b`)

// TestRunbookQuotesWhatIsSaid wants all that the runbook quotes, three words and
// more that are no command, to be said by the source: as somebody on call looks
// for it.
func TestRunbookQuotesWhatIsSaid(t *testing.T) {
	var said strings.Builder
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.isTest() {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			expr, ok := node.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := literal(expr)
			if ok {
				said.WriteString(text + "\n")
			}
			return !ok
		})
	}
	text, err := os.ReadFile(filepath.Join(repository, runbook))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, match := range runbookQuote.FindAllStringSubmatch(string(text), -1) {
		quote := match[1]
		if len(strings.Fields(quote)) < 3 || runbookCommands.MatchString(quote) {
			continue
		}
		checked++
		if !strings.Contains(said.String(), quote) {
			t.Errorf("%s quotes what nothing says: %s", runbook, quote)
		}
	}
	if checked < 40 {
		t.Errorf("only %d quotes found in the runbook", checked)
	}
}

// loggedIn are the lines that a file logs. A message has to be a literal, so that
// it can be found, and told from others by the logger.
func loggedIn(t *testing.T, s source) map[loggedLine]bool {
	lines := make(map[loggedLine]bool)
	ast.Inspect(s.file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || lastName(method.X) != "logger" {
			return true
		}
		name, inContext := strings.CutSuffix(method.Sel.Name, "Context")
		if method.Sel.Name == "Log" || method.Sel.Name == "LogAttrs" {
			t.Errorf("%s: call Debug, Info, Warn or Error, which have the level in their name", s.name)
		}
		level, ok := logMethods[name]
		if !ok {
			return true
		}
		at := 0
		if inContext {
			at = 1
		}
		message, ok := literal(call.Args[at])
		if !ok {
			t.Errorf("%s: the message of %s.%s is no literal", s.name, lastName(method.X), method.Sel.Name)
			return true
		}
		lines[loggedLine{message, level}] = true
		return true
	})
	return lines
}

// literal is the value of a string literal, or of some that are added.
func literal(expr ast.Expr) (string, bool) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(e.Value)
		return value, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, leftIs := literal(e.X)
		right, rightIs := literal(e.Y)
		return left + right, leftIs && rightIs && e.Op == token.ADD
	}
	return "", false
}

const runbook = "dashboards/RUNBOOK.md"

// runbookRow is a row of its tables: | `message` | level | means | to do |
var runbookRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z]+) \\| ([^|]+) \\| ([^|]+) \\|$")

// runbookLines are the lines that the runbook has.
func runbookLines(t *testing.T) map[loggedLine]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, runbook))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Log lines\n")
	if !found {
		t.Fatalf("%s has no section Log lines", runbook)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	lines := make(map[loggedLine]bool)
	for _, row := range runbookRow.FindAllStringSubmatch(section, -1) {
		lines[loggedLine{message: row[1], level: row[2]}] = true
	}
	if rows := strings.Count(section, "\n| `"); rows != len(lines) {
		t.Errorf("%d rows of the runbook begin with a message, %d are whole and stand once", rows, len(lines))
	}
	return lines
}
