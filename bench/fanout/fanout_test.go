package fanout

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"spillway/bench/load"
	"spillway/bench/subscribers"
)

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Config){
		"phases: one at least":          func(c *Config) { c.Phases = nil },
		`phase "edges": allowed are`:    func(c *Config) { c.Phases = []string{"edges"} },
		"0 sockets: allowed":            func(c *Config) { c.Sockets = 0 },
		"-1 subscribers":                func(c *Config) { c.Few = -1 },
		"rate of 0 events":              func(c *Config) { c.Rate = 0 },
		"first rate of -1":              func(c *Config) { c.First = -1 },
		"stuck rate of 50001":           func(c *Config) { c.StuckRate = 50001 },
		"duration 1ms":                  func(c *Config) { c.Duration = time.Millisecond },
		"step 2h0m0s":                   func(c *Config) { c.Step = 2 * time.Hour },
		"0 connections":                 func(c *Config) { c.Connections = 0 },
		"body of 10 bytes":              func(c *Config) { c.Body = 10 },
		"must hold one status and not ": func(c *Config) { c.Body = 6000 },
		"too many events to watch over": func(c *Config) { c.Few, c.Duration = 1_000_000, time.Hour },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
		if _, err := Run(t.Context(), c, Target{}, nil); err == nil {
			t.Errorf("%s: run", want)
		}
	}
}

// TestSearch: the rates that are tried for an edge that is known.
func TestSearch(t *testing.T) {
	for _, c := range []struct {
		first, edge int
		want        []int
		growth      float64
	}{
		{10, 100, []int{10, 20, 40, 80, 160, 113, 95, 103}, 2},
		{100, 30, []int{100, 50, 25, 35, 29, 31}, 2},
		{1, 3, []int{1, 2, 4, 3}, 2},
		{4, 0, []int{4, 2, 1}, 2},
		{30_000, 1 << 30, []int{30_000, 50_000}, 2},
		{100, 100, []int{100, 110}, 1.1},
		{100, 95, []int{100, 90, 94}, 1.1},
		{3, 5, []int{3, 4, 5, 6}, 1.1},
		{3, 0, []int{3, 2, 1}, 1.1},
	} {
		var got []int
		_ = search(c.first, c.growth, func(rate int) (bool, error) {
			got = append(got, rate)
			return rate <= c.edge, nil
		})
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("edge %d from %d: %v, want %v", c.edge, c.first, got, c.want)
		}
	}
	broken := errors.New("broken")
	if err := search(1, 2, func(int) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestFault(t *testing.T) {
	for want, s := range map[string]Step{
		"":                                {Events: 100, Unsent: 2, P99: 1},
		"2 sockets closed with 4008":      {Closed: map[int]subscribers.Closed{4008: {Count: 2}}, Lost: 7, P99: 2},
		"7 events lost at 3 sockets":      {Lost: 7, Short: 3, P99: 2},
		"1 events doubled":                {Doubled: 1},
		"4 webhooks not acked":            {Refused: 4},
		"3 webhooks not posted in time":   {Events: 97, Unsent: 3},
		"p99 above 1s":                    {P99: 1.01},
		"1 sockets closed with 1006, 2 s": {Closed: map[int]subscribers.Closed{4008: {Count: 2}, 1006: {Count: 1}}},
	} {
		if got := s.fault(); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// well is a result that meets the goals, to the limit.
func well() *Result {
	return &Result{
		Idle:      &IdleResult{Resident: 20 << 10},
		Reference: &Step{P99: 0.05, Seconds: 20},
		Edge:      &EdgeResult{Highest: &Step{Rate: 100, P99: 1, Seconds: 8}, Steps: []*Step{{P99: 1, Seconds: 8}, {P99: 2, Lost: 3, Seconds: 8, Closed: map[int]subscribers.Closed{4008: {}}, Fault: "closed"}}},
		Stuck:     []*Step{{P99: 0.1, Seconds: 20}, {Stuck: 1, P99: 0.2, Seconds: 20}},
	}
}

func TestVerdict(t *testing.T) {
	if v := judge(well()); !v.Passed || len(v.Breaches) > 0 {
		t.Errorf("%+v", v)
	}
	if v := judge(&Result{}); !v.Passed {
		t.Errorf("%+v", v)
	}
	for want, spoil := range map[string]func(*Result){
		"idle: a socket costs 21.0 KiB; the goal is 20":                                   func(r *Result) { r.Idle.Resident = 21 << 10 },
		"reference: p99 is 51ms; the goal is 50ms":                                        func(r *Result) { r.Reference.P99 = 0.051 },
		"reference: 1 events lost at 1 sockets":                                           func(r *Result) { r.Reference.Fault = "1 events lost at 1 sockets" },
		"edge: no rate was sustained":                                                     func(r *Result) { r.Edge.Highest = nil },
		"edge: at 0 events a second 1 came twice":                                         func(r *Result) { r.Edge.Steps[1].Doubled = 1 },
		"edge: at 0 events a second 1 were lost at sockets that stay":                     func(r *Result) { r.Edge.Steps[0].Lost = 1 },
		"stuck: with 1 stuck sockets: p99 above 1s":                                       func(r *Result) { r.Stuck[1].Fault = "p99 above 1s" },
		"stuck: with 1 stuck sockets the p99 of the others is 201ms; without it is 100ms": func(r *Result) { r.Stuck[1].P99 = 0.201 },
	} {
		r := well()
		spoil(r)
		v := judge(r)
		if v.Passed || len(v.Breaches) != 1 || !strings.HasPrefix(v.Breaches[0], want) {
			t.Errorf("%+v, want %s", v, want)
		}
		var out bytes.Buffer
		if r.Verdict = v; r.Text(&out) != nil || !strings.Contains(out.String(), "FAILED\n  "+want) {
			t.Error(out.String())
		}
	}
}

func TestText(t *testing.T) {
	r := well()
	r.Verdict = judge(r)
	var out bytes.Buffer
	if err := r.Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nPASSED: the goals are met\n", "20.0 KiB resident a socket", "p99 50ms", "reference", "edge", "stuck", "sustained", "closed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestRound: a webhook is known again by what its event carries.
func TestRound(t *testing.T) {
	b := &bench{cfg: DefaultConfig(), target: Target{Secret: "s", Address: "h"}}
	campaign, _, err := b.round(10)
	if err != nil {
		t.Fatal(err)
	}
	w := campaign.Writer()
	for n := range 3 {
		if serial, ours := campaign.Serial(w.Next()); !ours || serial != uint64(n)+1 {
			t.Errorf("%d: %d, %v", n, serial, ours)
		}
	}
	other, err := load.NewCampaign(600, "s", "h")
	if err != nil {
		t.Fatal(err)
	}
	if _, ours := campaign.Serial(other.Writer().Next()); ours {
		t.Error("another campaign's")
	}
}
