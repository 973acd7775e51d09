package report

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"spillway/bench/campaign"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestDraw(t *testing.T) {
	x, y := scale{max: 4}, scale{max: 10}
	for _, test := range []struct {
		name   string
		points []point
		want   line
	}{
		{"nothing", nil, line{}},
		{"gaps alone", []point{{0, gap}, {1, gap}}, line{}},
		{"a line", []point{{0, 0}, {2, 5}, {4, 10}}, line{Path: "M0 1000L500 500L1000 0"}},
		{"digits", []point{{0, 1. / 3}, {1, 2. / 3}}, line{Path: "M0 966.7L250 933.3"}},
		{"beyond the axis", []point{{0, -5}, {9, 50}}, line{Path: "M0 1000L1000 0"}},
		{"one point", []point{{1, 5}}, line{Dots: []spot{{"25%", "50%"}}}},
		{"a gap", []point{{0, 0}, {1, 5}, {2, gap}, {3, 5}, {4, 0}}, line{Path: "M0 1000L250 500M750 500L1000 1000"}},
		{"a lone point", []point{{0, 0}, {1, gap}, {2, 5}, {3, gap}, {4, 10}},
			line{Dots: []spot{{"0%", "100%"}, {"50%", "50%"}, {"100%", "0%"}}}},
	} {
		if got := draw(test.points, x, y, 0, 0); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// TestSigns wants the marks of two runs at different places of the same line.
func TestSigns(t *testing.T) {
	var points []point
	for i := range 8 {
		points = append(points, point{float64(i), 1})
	}
	for run, want := range [][]spot{{{"12.5%", "0%"}, {"62.5%", "0%"}}, {{"37.5%", "0%"}, {"87.5%", "0%"}}} {
		l := draw(points, scale{max: 8}, scale{max: 1}, 2, firstSign(run, 2))
		if !reflect.DeepEqual(l.Signs, want) {
			t.Errorf("run %d: %v, want %v", run, l.Signs, want)
		}
	}
}

// TestLongSeries wants a peak of one second to be seen in a day of them, and rates
// to be a mean.
func TestLongSeries(t *testing.T) {
	series := make([]campaign.Point, 86_400)
	for i := range series {
		series[i] = campaign.Point{Second: i, Sent: int64(i % 2), Lag: 0.01}
	}
	series[50_001].Lag = 9
	lag, sent := timelines[4], timelines[0]
	points := lag.points(series, lag.measures[0])
	if _, most := extent([][]point{points}); len(points) > mostPoints || most != 9 {
		t.Errorf("%d points, the largest %g", len(points), most)
	}
	least, most := extent([][]point{sent.points(series, sent.measures[2])})
	if least != 0.5 || most != 0.5 {
		t.Errorf("rates from %g to %g, want 0.5", least, most)
	}
}

// TestGoldenChart holds the drawing of a small run, with a gap after a kill.
func TestGoldenChart(t *testing.T) {
	run := pointRun()
	run.Result.Series = []campaign.Point{
		{Second: 0, AckP50: 0.002, AckP99: 0.01}, {Second: 1, AckP50: 0.003, AckP99: 0.1},
		{Second: 2, Killed: true}, {Second: 3, AckP50: 0.004, AckP99: 2},
	}
	c := timelines[1].draw([]Run{run})
	c.ID = 1
	var got bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&got, "chart", c); err != nil {
		t.Fatal(err)
	}
	const name = "testdata/chart.html"
	if *update {
		if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s is another; -update writes it anew:\n%s", name, got.String())
	}
	if strings.Contains(got.String(), "NaN") {
		t.Error("a place is not a number")
	}
}
