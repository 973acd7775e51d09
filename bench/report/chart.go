package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// chart is one drawing: lines over two axes. Its texts and its frame are placed in
// percent of its box and so keep their size on any screen; its lines are drawn in
// a square of 1,000 units that is stretched to the box.
type chart struct {
	ID          int
	Title, Note string
	// Description tells in words what the lines show, for those who do not see them.
	Description string
	XTitle      string
	X, Y        []mark
	Lines       []line
	Limits      []limit
	Kills       []kill
	Keys        []key
	// Empty is whether there is nothing to draw.
	Empty bool
}

// mark is a tick in percent of the axis, from the left or from the top.
type mark struct {
	At    string
	Label string
}

// line is drawn by Path; Dots are its points that stand alone, Signs tell it from
// others without its colour.
type line struct {
	// Color is the number of a class of the style sheet.
	Color  int
	Dashed bool
	Path   string
	Dots   []spot
	Signs  []spot
}

// spot is a place in percent from the left and the top.
type spot struct{ X, Y string }

// limit is a line across at a latency, with a mark at the percentile it is for
// where the chart has percentiles.
type limit struct {
	Y     string
	Label string
	At    *spot
}

// kill is when a receiver was killed.
type kill struct {
	Color int
	X     string
}

// key explains in the legend one colour, dash or mark.
type key struct {
	// Kind is "line", "run", "limit" or "kill".
	Kind  string
	Label string
	// Color is of a line or a run, Dashed of a line.
	Color  int
	Dashed bool
}

// point is in the units of the axes. Where Y is not a number the line has a gap.
type point struct{ X, Y float64 }

var gap = math.NaN()

// place is a point in a box, from 0 to 1 from the left and the top.
type place struct{ x, y float64 }

func (p place) spot() spot { return spot{inPercent(p.x), inPercent(p.y)} }

// inPercent has two digits behind the point: a sixteenth of a pixel on the widest
// chart.
func inPercent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e4)/1e2, 'f', -1, 64) + "%"
}

// draw makes a line of points that are in order of x. signs is how many places of
// it are marked, first where the first of them is, from 0 to 1 of their distance, so
// that those of several lines do not meet.
func draw(points []point, x, y scale, signs int, first float64) line {
	var l line
	var drawn []place
	for _, run := range unbroken(points) {
		places := make([]place, len(run))
		for i, p := range run {
			places[i] = place{x.at(p.X), 1 - y.at(p.Y)}
		}
		drawn = append(drawn, places...)
		if len(places) == 1 {
			l.Dots = append(l.Dots, places[0].spot())
			continue
		}
		l.Path += path(places)
	}
	if len(drawn) == 0 {
		return l
	}
	for i := range signs {
		at := (float64(i) + first) / float64(signs) * float64(len(drawn))
		l.Signs = append(l.Signs, drawn[int(at)].spot())
	}
	return l
}

// unbroken cuts points at their gaps.
func unbroken(points []point) [][]point {
	var runs [][]point
	start := 0
	for i := range len(points) + 1 {
		if i < len(points) && !math.IsNaN(points[i].Y) {
			continue
		}
		if i > start {
			runs = append(runs, points[start:i])
		}
		start = i + 1
	}
	return runs
}

// path is the SVG path of a line in a square of 1,000 units.
func path(places []place) string {
	var b strings.Builder
	for i, p := range places {
		command := byte('L')
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&b, "%c%s %s", command, units(p.x), units(p.y))
	}
	return b.String()
}

func units(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e4)/10, 'f', -1, 64)
}

// add takes a line into the chart.
func (c *chart) add(l line) {
	c.Lines = append(c.Lines, l)
	c.Empty = c.Empty && l.Path == "" && len(l.Dots) == 0
}

// marks are the ticks of an axis, from the top where it stands upright.
func (s scale) marks(upright bool) []mark {
	all := make([]mark, len(s.ticks))
	for i, t := range s.ticks {
		at := s.at(t.value)
		if upright {
			at = 1 - at
		}
		all[i] = mark{inPercent(at), t.label}
	}
	return all
}
