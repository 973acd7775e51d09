package report

import (
	"fmt"
	"math"
	"strings"

	"spillway/bench/campaign"
)

// mostPoints bounds the points of a line: more than that no screen shows.
const mostPoints = 600

// measure is one figure of each second of a run.
type measure struct {
	name   string
	of     func(campaign.Point) float64
	dashed bool
	// limit is Meta's for it, or nil.
	limit *metaLimit
}

// timeline is a chart over time before it is drawn.
type timeline struct {
	title, note string
	measures    []measure
	// latencies has a logarithmic axis, and a gap where a figure is 0.
	latencies bool
	// mean is whether seconds that share a point are shown by their mean, not by
	// the largest of them.
	mean bool
	// label is for ticks of an axis that is not of latencies, value puts a figure in
	// words.
	label, value func(float64) string
}

// metaLimit is a limit that Meta sets for answers.
type metaLimit struct {
	share, seconds float64
	label          string
}

// Meta wants half of its posts answered within 250 ms, and no more than one in a
// hundred after a second.
var (
	metaMedian = metaLimit{0.5, 0.25, "Meta: median 250\u00a0ms"}
	metaOver   = metaLimit{0.99, 1, "Meta: 99\u00a0% within 1\u00a0s"}
)

// timelines are the charts over time, in the order of the page.
var timelines = []timeline{
	{title: "Rate", note: "a second", mean: true, label: short, value: perSecond, measures: []measure{
		{name: "posts acked", of: func(p campaign.Point) float64 { return float64(p.Acked) }},
		{name: "events seen", of: func(p campaign.Point) float64 { return float64(p.Seen) }},
		// Last and dashed, for it often lies on those that were acked.
		{name: "posts sent", of: func(p campaign.Point) float64 { return float64(p.Sent) }, dashed: true},
	}},
	{title: "Ack latency", note: "from when a post was due to its answer 200; log scale", latencies: true, value: latency, measures: []measure{
		{name: "p99", of: func(p campaign.Point) float64 { return p.AckP99 }, limit: &metaOver},
		{name: "p50", of: func(p campaign.Point) float64 { return p.AckP50 }, limit: &metaMedian, dashed: true},
	}},
	{title: "Delivery latency", note: "from when a webhook was due to its event; log scale", latencies: true, value: latency, measures: []measure{
		{name: "p99", of: func(p campaign.Point) float64 { return p.DeliveryP99 }},
		{name: "p50", of: func(p campaign.Point) float64 { return p.DeliveryP50 }, dashed: true},
	}},
	{title: "Backlog", note: "events acked and not yet seen", label: short, value: short, measures: []measure{
		{name: "backlog", of: func(p campaign.Point) float64 { return float64(p.Backlog) }},
	}},
	{title: "Lag", note: "age of the oldest event acked and not yet seen", label: latencyFromZero, value: latencyFromZero, measures: []measure{
		{name: "lag", of: func(p campaign.Point) float64 { return p.Lag }},
	}},
}

// split gives each measure a chart of its own: of several runs no line could be
// followed otherwise.
func (t timeline) split() []timeline {
	if len(t.measures) == 1 {
		return []timeline{t}
	}
	var all []timeline
	for _, m := range t.measures {
		one := t
		m.dashed = false
		one.title, one.measures = t.title+": "+m.name, []measure{m}
		all = append(all, one)
	}
	return all
}

// draw makes the chart of a timeline.
func (t timeline) draw(runs []Run) chart {
	c := chart{Title: t.title, Note: t.note, XTitle: "time since the first post was due", Empty: true}
	x := overTime(lastSecond(runs))
	if x.max > 60 {
		c.XTitle += ", min:s"
	}
	values := make([][]point, 0, len(runs)*len(t.measures))
	for _, run := range runs {
		for _, m := range t.measures {
			values = append(values, t.points(run.Result.Series, m))
		}
	}
	y := axis(values, t.limits(), t.latencies, t.label)
	c.X, c.Y = x.marks(false), y.marks(true)
	var said []string
	for i, points := range values {
		run, m := i/len(t.measures), i%len(t.measures)
		l := draw(points, x, y, signs(len(runs)), firstSign(run, len(runs)))
		l.Color, l.Dashed = color(run, m, len(runs)), t.measures[m].dashed
		c.add(l)
		said = append(said, say(name(runs, run)+t.measures[m].name, points, t.value))
	}
	for _, l := range t.limits() {
		c.Limits = append(c.Limits, limit{Y: inPercent(1 - y.at(l.seconds)), Label: l.label})
	}
	c.Kills = kills(runs, x)
	if len(c.Kills) > 0 {
		said = append(said, fmt.Sprintf("Receivers killed: %d.", len(c.Kills)))
	}
	c.Description = strings.Join(said, " ")
	c.Keys = t.keys(runs, len(c.Kills) > 0)
	return c
}

// limits are those of its measures.
func (t timeline) limits() []metaLimit {
	var all []metaLimit
	for _, m := range t.measures {
		if m.limit != nil {
			all = append(all, *m.limit)
		}
	}
	return all
}

// points are a measure of each second, or of as many seconds together as bring
// them down to mostPoints.
func (t timeline) points(series []campaign.Point, m measure) []point {
	together := max((len(series)+mostPoints-1)/mostPoints, 1)
	var points []point
	for start := 0; start < len(series); start += together {
		group := series[start:min(start+together, len(series))]
		sum, largest := 0.0, math.Inf(-1)
		for _, p := range group {
			sum, largest = sum+m.of(p), max(largest, m.of(p))
		}
		shown := point{float64(group[0].Second), largest}
		if t.mean {
			shown.Y = sum / float64(len(group))
		}
		if t.latencies && shown.Y <= 0 {
			shown.Y = gap
		}
		points = append(points, shown)
	}
	return points
}

// axis is the upright one of values; limits are within it. label is for one that
// is not of latencies.
func axis(values [][]point, limits []metaLimit, latencies bool, label func(float64) string) scale {
	least, most := extent(values)
	for _, l := range limits {
		least, most = min(least, l.seconds), max(most, l.seconds)
	}
	switch {
	case latencies && least > most:
		return logarithmic(0.001, 1)
	case latencies:
		return logarithmic(least, most)
	}
	return linear(most, label)
}

// extent is the least and the largest of all points: the least is above the
// largest where there is none.
func extent(values [][]point) (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	for _, points := range values {
		for _, p := range points {
			if !math.IsNaN(p.Y) {
				least, most = min(least, p.Y), max(most, p.Y)
			}
		}
	}
	return least, most
}

// say puts a line in words.
func say(name string, points []point, value func(float64) string) string {
	least, most := extent([][]point{points})
	if least > most {
		return name + ": nothing."
	}
	return fmt.Sprintf("%s: %s at least, %s at most.", name, value(least), value(most))
}

func (t timeline) keys(runs []Run, killed bool) []key {
	keys := runKeys(runs)
	if len(t.measures) > 1 {
		for i, m := range t.measures {
			keys = append(keys, key{Kind: "line", Color: i, Dashed: m.dashed, Label: m.name})
		}
	}
	if len(t.limits()) > 0 {
		keys = append(keys, key{Kind: "limit", Label: "Meta's limits"})
	}
	if killed {
		keys = append(keys, key{Kind: "kill", Label: "kill -9 of the receiver"})
	}
	return keys
}

// distribution is a chart of latencies by percentile before it is drawn.
type distribution struct {
	title, note string
	of          func(*campaign.Result) []campaign.Bucket
	limits      []metaLimit
}

var distributions = []distribution{
	{"Ack latency by percentile", "what share of the posts was answered within what time; log scale. Below both crosses is within Meta's limits",
		func(r *campaign.Result) []campaign.Bucket { return r.AckDistribution }, []metaLimit{metaMedian, metaOver}},
	{"Delivery latency by percentile", "what share of the events was seen within what time; log scale",
		func(r *campaign.Result) []campaign.Bucket { return r.DeliveryDistribution }, nil},
}

// draw makes the chart of a distribution.
func (d distribution) draw(runs []Run) chart {
	c := chart{Title: d.title, Note: d.note, XTitle: "percentile; the right end is the largest", Empty: true}
	values := make([][]point, len(runs))
	mostNines := 0.0
	for i := range runs {
		for _, b := range d.of(&runs[i].Result) {
			if b.Seconds <= 0 {
				continue
			}
			values[i] = append(values[i], point{b.Share, b.Seconds})
			if b.Share < 1 {
				mostNines = max(mostNines, nines(b.Share))
			}
		}
	}
	x, y := percentiles(mostNines), axis(values, d.limits, true, nil)
	c.X, c.Y = x.marks(false), y.marks(true)
	var said []string
	for i, points := range values {
		l := draw(points, x, y, signs(len(runs)), firstSign(i, len(runs)))
		l.Color = color(i, 0, len(runs))
		c.add(l)
		said = append(said, say(name(runs, i)+"latency", points, latency))
	}
	c.Description = strings.Join(said, " ")
	for _, l := range d.limits {
		at := place{x.at(l.share), 1 - y.at(l.seconds)}.spot()
		c.Limits = append(c.Limits, limit{Y: at.Y, Label: l.label, At: &at})
	}
	c.Keys = runKeys(runs)
	if len(d.limits) > 0 {
		c.Keys = append(c.Keys, key{Kind: "limit", Label: "Meta's limits"})
	}
	return c
}

// noRun is the colour of what belongs to no line.
const noRun = mostRuns

// color is that of the run, and of the measure where there is one run.
func color(run, measure, runs int) int {
	if runs == 1 {
		return measure
	}
	return run
}

// signs is how many places of a line are marked: none where there is one run.
func signs(runs int) int {
	if runs == 1 {
		return 0
	}
	return 4
}

// firstSign spreads the marks of runs.
func firstSign(run, runs int) float64 { return (float64(run) + 0.5) / float64(runs) }

// name begins what is said of a run's line, where there are several.
func name(runs []Run, i int) string {
	if len(runs) == 1 {
		return ""
	}
	return runs[i].Name + ", "
}

func runKeys(runs []Run) []key {
	if len(runs) == 1 {
		return nil
	}
	var keys []key
	for i, run := range runs {
		keys = append(keys, key{Kind: "run", Color: i, Label: run.Name})
	}
	return keys
}

func kills(runs []Run, x scale) []kill {
	var all []kill
	for i, run := range runs {
		for _, p := range run.Result.Series {
			if p.Killed {
				all = append(all, kill{color(i, noRun, len(runs)), inPercent(x.at(float64(p.Second)))})
			}
		}
	}
	return all
}

// lastSecond is where the longest series ends.
func lastSecond(runs []Run) float64 {
	last := 0
	for _, run := range runs {
		if n := len(run.Result.Series); n > 0 {
			last = max(last, run.Result.Series[n-1].Second)
		}
	}
	return float64(last)
}
