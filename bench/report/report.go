// Package report turns results of `bench campaign --json` into one HTML page: the
// verdict, what was run, the figures, and charts in which several runs lie over
// one another.
//
// Results are read and checked (read.go); their figures become rows of tables
// (figures.go) and lines in charts (charts.go), placed by scales (scale.go); the
// template draws them. The page holds all it needs, has no script, asks nobody for
// anything, and takes nothing in a result for markup.
package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"

	"spillway/bench/campaign"
)

// mostRuns is how many runs a page has colours for.
const mostRuns = 6

// Run is a result and what the page calls it.
type Run struct {
	Name   string
	Result campaign.Result
}

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	styleText string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// page is what the template shows.
type page struct {
	Style template.CSS
	// Headline is the verdict on all runs, Passed whether all did.
	Headline string
	Passed   bool
	Runs     []summary
	// Several is whether runs are told from one another.
	Several  bool
	WhatRan  table
	Figures  table
	OverTime []chart
	Spread   []chart
}

// table has a column for each of Runs.
type table struct {
	ID, Caption string
	Runs        []summary
	Groups      []group
}

// summary is the verdict on a run with the figures that matter most.
type summary struct {
	Name    string
	Color   int
	Verdict campaign.Verdict
	Plain   string
	Tiles   []tile
}

// tile is one figure of a summary.
type tile struct {
	Name, Value, Note string
	Bad               bool
}

// Write writes the page of runs, from one to six.
func Write(out io.Writer, runs []Run) error {
	switch {
	case len(runs) == 0:
		return errors.New("no result is given")
	case len(runs) > mostRuns:
		return fmt.Errorf("%d results are given; allowed: %d at most, or their lines could not be told apart", len(runs), mostRuns)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(runs)); err != nil {
		return fmt.Errorf("make page: %w", err)
	}
	if _, err := out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

func newPage(runs []Run) page {
	p := page{Style: template.CSS(styleText), Several: len(runs) > 1}
	passed := 0
	for i := range runs {
		if runs[i].Result.Verdict.Passed {
			passed++
		}
		p.Runs = append(p.Runs, summarize(&runs[i], i))
	}
	p.Passed = passed == len(runs)
	p.Headline = headline(passed, len(runs))
	p.WhatRan = table{"what", "What was run", p.Runs, whatRan(runs)}
	p.Figures = table{"figures", "Key figures", p.Runs, keyFigures(runs)}
	number := 0
	add := func(charts *[]chart, c chart) {
		number++
		c.ID = number
		*charts = append(*charts, c)
	}
	for _, t := range timelines {
		charts := []timeline{t}
		if p.Several {
			charts = t.split()
		}
		for _, one := range charts {
			add(&p.OverTime, one.draw(runs))
		}
	}
	for _, d := range distributions {
		add(&p.Spread, d.draw(runs))
	}
	return p
}

func headline(passed, runs int) string {
	switch {
	case runs == 1 && passed == 1:
		return "Passed"
	case runs == 1:
		return "Failed"
	case passed == runs:
		return fmt.Sprintf("All %d runs passed", runs)
	case passed == 0:
		return fmt.Sprintf("All %d runs failed", runs)
	}
	return fmt.Sprintf("%d of %d runs failed", runs-passed, runs)
}

func summarize(run *Run, i int) summary {
	r := &run.Result
	s := summary{Name: run.Name, Color: i, Verdict: r.Verdict, Plain: plain(r)}
	for _, t := range []struct {
		name string
		n    int64
	}{{"Lost", r.Lost}, {"Duplicated", r.Duplicated}, {"Out of order", r.OutOfOrder}} {
		s.Tiles = append(s.Tiles, tile{Name: t.name, Value: count(t.n), Note: "events", Bad: t.n != 0})
	}
	s.Tiles = append(s.Tiles,
		tile{Name: "Ack p50", Value: quantile(r.AckSeconds.P50), Note: "limit " + latency(metaMedian.seconds), Bad: r.AckSeconds.P50 > metaMedian.seconds},
		tile{Name: "Ack p99", Value: quantile(r.AckSeconds.P99), Note: "limit " + latency(metaOver.seconds), Bad: r.AckSeconds.P99 > metaOver.seconds},
		tile{Name: "Delivery p99", Value: quantile(r.DeliverySeconds.P99), Note: "median " + quantile(r.DeliverySeconds.P50)})
	return s
}

// plain is the run in a sentence.
func plain(r *campaign.Result) string {
	text := fmt.Sprintf("A campaign to %s recipients at %s messages a second: %s webhooks, %s of them acked, and %s of %s events seen",
		count(int64(r.Recipients)), figure(r.Rate), count(r.Webhooks), count(r.Acked), count(r.EventsSeen), count(r.EventsExpected))
	if r.Kills > 0 {
		text += ". The receiver was killed " + killed(r)
	}
	return text + "."
}
