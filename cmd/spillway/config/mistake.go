package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong with a setting.
type Mistake struct {
	// Key is the path of the setting, like limits.body or apps[0].name; empty
	// for a mistake in the file as such.
	Key string
	Origin
	// Problem says what is wrong, Allowed what would be right; the latter may
	// be empty.
	Problem, Allowed string
}

// Origin is where a value was written; the zero Origin means nowhere.
type Origin struct {
	File string
	// Line counts from 1.
	Line int
	// Variable and Flag are names, the flag's with its dashes.
	Variable, Flag string
}

// String is one line: place, key, problem, what is allowed.
func (m Mistake) String() string {
	var b strings.Builder
	switch {
	case m.Flag != "":
		fmt.Fprintf(&b, "%s: ", m.Flag)
	case m.Variable != "" && m.Key != "":
		fmt.Fprintf(&b, "%s (%s): ", m.Variable, m.Key)
	case m.Variable != "":
		fmt.Fprintf(&b, "%s: ", m.Variable)
	case m.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", m.File, m.Line)
	case m.File != "":
		fmt.Fprintf(&b, "%s: ", m.File)
	}
	if m.Key != "" && m.Variable == "" && m.Flag == "" {
		fmt.Fprintf(&b, "%s: ", m.Key)
	}
	b.WriteString(m.Problem)
	if m.Allowed != "" {
		fmt.Fprintf(&b, "; allowed: %s", m.Allowed)
	}
	return b.String()
}

// Mistakes is the error of Load: all that is wrong, the file's by line first.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	if len(m) == 1 {
		return "config: " + m[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "config: %d mistakes:", len(m))
	for _, mistake := range m {
		b.WriteString("\n  " + mistake.String())
	}
	return b.String()
}

// sorted puts the file's mistakes first, by line, and leaves the others in order.
func (m Mistakes) sorted() Mistakes {
	slices.SortStableFunc(m, func(a, b Mistake) int {
		if (a.Line > 0) != (b.Line > 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Compare(a.Line, b.Line)
	})
	return m
}

// names reports whether a mistake at the key, below it, or at a section around
// it is known already.
func (m Mistakes) names(key string) bool {
	return slices.ContainsFunc(m, func(other Mistake) bool {
		return holds(key, other.Key) || other.Key != "" && holds(other.Key, key)
	})
}

// holds reports whether the key inner is outer or below it.
func holds(outer, inner string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// nearest gives the candidate that text was likely meant to be, or "".
func nearest(text string, candidates []string) string {
	best, bound := "", 1+len(text)/4
	for _, candidate := range candidates {
		if d := distance(text, candidate); d <= bound && (best == "" || d < distance(text, best)) {
			best = candidate
		}
	}
	return best
}

// distance is how many letters have to be changed, added or removed to get
// from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
