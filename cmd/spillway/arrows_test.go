package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	repository = "../.."
	module     = "spillway"
)

// arrows say which packages of ours a package may import; this one may import
// all. What is not listed may not exist: a new package adds its arrows here.
var arrows = map[string][]string{
	"wal":                     {},
	"ingest":                  {},
	"dispatch":                {"wal", "dispatch/backoff", "dispatch/event", "dispatch/meta", "dispatch/store"},
	"dispatch/backoff":        {},
	"dispatch/deliver/post":   {"dispatch/backoff"},
	"dispatch/deliver":        {"dispatch/backoff", "dispatch/deliver/post", "dispatch/event", "dispatch/store", "dispatch/stream"},
	"dispatch/event":          {},
	"dispatch/meta":           {"dispatch/event"},
	"dispatch/store":          {"dispatch/event"},
	"dispatch/store/calls":    {"dispatch/store"},
	"dispatch/store/contacts": {"dispatch/store", "dispatch/event"},
	"dispatch/store/embedded": {"dispatch/store", "dispatch/store/calls", "dispatch/store/contacts", "dispatch/event"},
	"dispatch/store/redis":    {"dispatch/store", "dispatch/store/calls", "dispatch/store/contacts", "dispatch/event"},
	// The suite that every store passes.
	"dispatch/store/storetest": {"dispatch/store", "dispatch/event"},
	"dispatch/stream":          {"dispatch/backoff", "dispatch/store", "dispatch/event"},
	"dispatch/stream/client":   {"dispatch/backoff"},
	"dispatch/trace":           {"dispatch", "dispatch/event", "dispatch/store", "dispatch/stream"},
	"bench/ack":                {"bench/load", "bench/machine", "ingest"},
	"bench/campaign":           {"bench/machine", "dispatch/event", "dispatch/stream/client", "ingest"},
	"bench/fanout":             {"bench/ack", "bench/load", "bench/machine", "bench/subscribers"},
	"bench/load":               {},
	"bench/machine":            {},
	"bench/report":             {"bench/campaign", "bench/machine"},
	"bench/subscribers":        {},
	"cmd/spillway/config":      {},
	"cmd/spillway/logger":      {},
	"dashboards/generate":      {},
	// Real servers for the tests of any package.
	"dispatch/store/redis/localredis": {},
	// Tests of what is no program: containers, rules, dashboards.
	"dashboards": {},
	// A real browser for the tests of any package.
	"bench/browser": {},
}

// testArrows are what the tests of a package may import besides.
var testArrows = map[string][]string{
	"bench/ack":                {"dispatch/store/redis/localredis"},
	"bench/report":             {"bench/browser"},
	"bench/campaign":           {"dispatch/meta"},
	"dispatch":                 {"dispatch/store/embedded", "dispatch/store/storetest"},
	"dispatch/deliver":         {"dispatch/store/embedded"},
	"dispatch/store/embedded":  {"dispatch/store/storetest"},
	"dispatch/store/redis":     {"dispatch/store/storetest", "dispatch/store/redis/localredis"},
	"dispatch/store/storetest": {"dispatch/store/embedded"},
	"dispatch/stream":          {"dispatch/stream/client", "dispatch/store/embedded"},
	"dispatch/stream/client":   {"dispatch/stream", "dispatch/store", "dispatch/event", "bench/browser"},
}

// topLevel is all that may stand at the top, dot-files aside.
var topLevel = []string{"cmd", "ingest", "wal", "dispatch", "bench", "dashboards", "go.mod", "go.sum", "Makefile", "README.md"}

// source is a parsed file of ours.
type source struct {
	// name is the path, folder the package, both from the top of the repository.
	name, folder string
	file         *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// imports are the packages of ours that it imports, from the top.
func (s source) imports() []string {
	var ours []string
	for _, spec := range s.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
			ours = append(ours, rest)
		}
	}
	return ours
}

func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			// bench/peers is a module of its own.
			if relative != "." && strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || relative == "bench/peers" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(relative, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err != nil {
			return err
		}
		all = append(all, source{name: relative, folder: path.Dir(relative), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}

func TestImportArrows(t *testing.T) {
	for _, s := range sources(t, parser.ImportsOnly) {
		if s.folder == "cmd/spillway" {
			continue
		}
		allowed, listed := arrows[s.folder]
		if !listed {
			t.Errorf("%s: the package is not in arrows", s.name)
			continue
		}
		if s.isTest() {
			allowed = slices.Concat(allowed, testArrows[s.folder], []string{s.folder})
		}
		for _, imported := range s.imports() {
			if !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; allowed: %v", s.name, imported, allowed)
			}
		}
	}
}

// TestArrowsKeepTheirPromises guards the table above against being widened
// until it says nothing.
func TestArrowsKeepTheirPromises(t *testing.T) {
	for _, leaf := range []string{"wal", "ingest", "dispatch/event"} {
		if len(arrows[leaf]) > 0 {
			t.Errorf("%s must import nothing of ours", leaf)
		}
	}
	for from, allowed := range arrows {
		for _, to := range allowed {
			if strings.HasPrefix(to, "cmd") {
				t.Errorf("%s may import %s: nobody imports cmd", from, to)
			}
			if strings.HasPrefix(from, "dispatch") && to == "ingest" {
				t.Errorf("%s may import ingest", from)
			}
			if to == "wal" && from != "dispatch" {
				t.Errorf("%s may import wal", from)
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	ignored, err := os.ReadFile(filepath.Join(repository, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || slices.Contains(topLevel, name) {
			continue
		}
		if !slices.Contains(strings.Split(string(ignored), "\n"), "/"+name+"/") {
			t.Errorf("%s does not belong at the top level", name)
		}
	}
}

// enders are the functions that end the process.
var enders = []string{"os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln"}

func TestOnlyMainExits(t *testing.T) {
	found := false
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.isTest() {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok || !slices.Contains(enders, from.Name+"."+selector.Sel.Name) {
				return true
			}
			switch s.name {
			case "cmd/spillway/main.go":
				found = true
			case "dashboards/generate/main.go": // a program of its own
			default:
				t.Errorf("%s calls %s.%s", s.name, from.Name, selector.Sel.Name)
			}
			return true
		})
	}
	if !found {
		t.Error("not even main exits: the search finds nothing")
	}
}
