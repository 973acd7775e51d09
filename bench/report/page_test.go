package report

import (
	"context"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"spillway/bench/browser"
)

//go:embed testdata/look.js
var lookScript string

// look is what look.js tells.
type look struct {
	Width, ScrollWidth         float64
	VerdictBottom, VerdictSize float64
	Verdict                    string
	// Small, Faint and Beyond are texts that are too small, of too little contrast,
	// or not on the screen.
	Small, Faint, Beyond []string
	Headings             []string
	RowHeaders           bool
	ColumnHeaders        int
	Foreign              int
	Hacked               bool
	Text                 string
	Charts               []chartLook
}

type chartLook struct {
	Title, Name, Description string
	Width, Height            float64
	Lines, Outside, Faint    int
	Colors, Legend           []string
	Widest                   float64
	Kills, Limits            int
	LabelsMeet               bool
}

var views = []browser.View{
	{Width: 390, Height: 844}, {Width: 390, Height: 844, Dark: true},
	{Width: 1280, Height: 800}, {Width: 1280, Height: 800, Dark: true},
}

// openPage opens the page of runs from the disk, and checks that it asks nobody
// for anything and has nothing to complain about.
func openPage(t *testing.T, tab context.Context, view browser.View, runs ...Run) look {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(pageOf(t, runs...)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tab)
	defer cancel()
	address := (&url.URL{Scheme: "file", Path: file}).String()
	page, err := browser.Open(ctx, address, view)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[look](lookScript))
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Requests(); !slices.Equal(got, []string{address}) {
		t.Errorf("requests: %q", got)
	}
	if got := page.Messages(); len(got) > 0 {
		t.Errorf("console: %q", got)
	}
	if seen.Foreign > 0 {
		t.Errorf("%d elements that a report has not", seen.Foreign)
	}
	return seen
}

// TestPageInBrowser opens reports on a phone and on a desktop, in light and dark.
func TestPageInBrowser(t *testing.T) {
	tab := browser.Start(t)
	for _, test := range []struct {
		name    string
		runs    []Run
		verdict string
		charts  []int // how many lines each has
		colors  int   // of those of a chart with the most
		kills   int
	}{
		{"one", []Run{passedRun()}, "✓ Passed", []int{3, 2, 2, 1, 1, 1, 1}, 3, 0},
		{"failed", []Run{failedRun()}, "✕ Failed", []int{3, 2, 2, 1, 1, 1, 1}, 3, 3},
		{"several", []Run{passedRun(), failedRun(), sampleRun("burst10x on another machine", 5, 180, 2_000, 0.006)},
			"✕ 1 of 3 runs failed", []int{3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}, 3, 3},
		{"most", []Run{passedRun(), passedRun(), passedRun(), passedRun(), passedRun(), passedRun()},
			"✓ All 6 runs passed", []int{6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6}, 6, 0},
		{"point", []Run{pointRun()}, "✓ Passed", []int{3, 2, 2, 1, 1, 1, 1}, 3, 0},
		{"empty", []Run{emptyRun()}, "✓ Passed", []int{0, 0, 0, 0, 0, 0, 0}, 0, 0},
	} {
		for _, view := range views {
			t.Run(fmt.Sprintf("%s/%d/dark=%t", test.name, view.Width, view.Dark), func(t *testing.T) {
				seen := openPage(t, tab, view, test.runs...)
				seen.check(t, view)
				if seen.Verdict != test.verdict {
					t.Errorf("the verdict is %q", seen.Verdict)
				}
				if columns := seen.ColumnHeaders; len(test.runs) > 1 && columns != 2*(1+len(test.runs)) {
					t.Errorf("%d column headers", columns)
				}
				if len(seen.Charts) != len(test.charts) {
					t.Fatalf("%d charts, want %d", len(seen.Charts), len(test.charts))
				}
				colors := 0
				for i, c := range seen.Charts {
					c.check(t, test.runs)
					colors = max(colors, len(c.Colors))
					if c.Lines != test.charts[i] {
						t.Errorf("%s: %d lines, want %d", c.Title, c.Lines, test.charts[i])
					}
					if overTime := i < len(seen.Charts)-2; overTime && c.Kills != test.kills {
						t.Errorf("%s: %d kills, want %d", c.Title, c.Kills, test.kills)
					}
				}
				if colors != test.colors {
					t.Errorf("lines of %d colours, want %d", colors, test.colors)
				}
			})
		}
	}
}

// check holds for every report.
func (seen look) check(t *testing.T, view browser.View) {
	t.Helper()
	if width := float64(view.Width); seen.Width != width || seen.ScrollWidth > width {
		t.Errorf("the page is %g wide in a window of %g", seen.ScrollWidth, seen.Width)
	}
	if seen.VerdictBottom > float64(view.Height)/4 || seen.VerdictSize < 32 {
		t.Errorf("the verdict ends at %g px, in letters of %g px", seen.VerdictBottom, seen.VerdictSize)
	}
	for what, texts := range map[string][]string{"small": seen.Small, "faint": seen.Faint, "off the screen": seen.Beyond} {
		if len(texts) > 0 {
			t.Errorf("texts that are %s: %q", what, texts)
		}
	}
	if seen.Headings[0] != "h1" || slices.Contains(seen.Headings[1:], "h1") || !slices.Contains(seen.Headings, "h3") {
		t.Errorf("headings %v", seen.Headings)
	}
	if !seen.RowHeaders {
		t.Error("a row has no header")
	}
}

// check holds for every chart.
func (c chartLook) check(t *testing.T, runs []Run) {
	t.Helper()
	if c.Width < 250 || c.Height < 200 {
		t.Errorf("%s: %g × %g px", c.Title, c.Width, c.Height)
	}
	if !strings.HasPrefix(c.Name, c.Title) || c.Description == "" {
		t.Errorf("%s: title %q, description %q", c.Title, c.Name, c.Description)
	}
	if c.Outside > 0 || c.Faint > 0 {
		t.Errorf("%s: %d lines leave their box, %d are faint", c.Title, c.Outside, c.Faint)
	}
	if c.LabelsMeet {
		t.Errorf("%s: labels meet", c.Title)
	}
	if longest := len(runs[0].Result.Series); longest > 1 && c.Widest < 0.9*c.Width {
		t.Errorf("%s: the longest line has %g px of %g", c.Title, c.Widest, c.Width)
	}
	if strings.HasPrefix(c.Title, "Ack latency") && c.Limits == 0 {
		t.Errorf("%s: no limit of Meta's", c.Title)
	}
	if len(runs) == 1 {
		return
	}
	if len(c.Colors) != len(runs) {
		t.Errorf("%s: colours %v for %d runs", c.Title, c.Colors, len(runs))
	}
	for _, run := range runs {
		if !slices.Contains(c.Legend, run.Name) {
			t.Errorf("%s: legend %q lacks %s", c.Title, c.Legend, run.Name)
		}
	}
}

// TestHostileResult wants markup in a result to be shown, not taken for markup.
func TestHostileResult(t *testing.T) {
	const (
		script = `"><script>window.hacked = true</script>`
		image  = `</style></title></desc></svg><img src="http://127.0.0.1:9/x" onerror="window.hacked = true">`
	)
	run := failedRun()
	run.Name = script + "name"
	r := &run.Result
	r.Preset, r.Receiver, r.Subscription, r.Version = script+"preset", "javascript:window.hacked=true", image+"subscription", image+"version"
	r.Machine.Processor, r.Machine.System = script+"processor", image+"system"
	r.Verdict.Breaches, r.Verdict.Warnings = []string{image + "breach"}, []string{script + "warning"}
	tab := browser.Start(t)
	for _, runs := range [][]Run{{run}, {run, run}} {
		seen := openPage(t, tab, views[0], runs...)
		if seen.Hacked {
			t.Error("the page ran what was in a result")
		}
		seen.check(t, views[0])
		for _, want := range []string{script + "preset", image + "version", image + "breach", script + "warning", script + "processor", r.Receiver} {
			if !strings.Contains(seen.Text, want) {
				t.Errorf("the page does not show %q", want)
			}
		}
	}
}
