package results

import (
	"strings"
	"testing"
	"time"

	"spillway/bench/fanout"
	"spillway/bench/machine"
	"spillway/bench/peers/contest"
	"spillway/bench/subscribers"
)

func step(rate, sockets int, p99, perMillion float64) *fanout.Step {
	frames := float64(rate * sockets)
	return &fanout.Step{
		Rate: rate, Sockets: sockets, Seconds: 4, Events: int64(4 * rate), Frames: int64(4 * frames), FramesPerSecond: frames,
		P50: p99 / 4, P99: p99, PerMillion: perMillion, ReceiverCPU: 4 * frames * perMillion / 1e6, GeneratorCPU: 1.2, Resident: 300 << 20,
	}
}

func failed(s *fanout.Step, fault string) *fanout.Step {
	s.Fault, s.Lost, s.Closed = fault, 7, map[int]subscribers.Closed{4008: {Count: 2}}
	return s
}

func testStream() *Stream {
	highest := step(60, 10_000, 0.4, 1.5)
	return &Stream{
		Machine:  machine.Machine{Processor: "A Processor", Cores: 2, System: "linux/amd64", Go: "go1.26"},
		Versions: []Version{{"Spillway", "spillway v1"}, {"github.com/centrifugal/centrifuge", "v0.40.1"}},
		Command:  "peers --only-stream", Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 11 * time.Minute,
		Bench: &fanout.Result{
			Sockets: 10_000, Body: 600, Verdict: fanout.Verdict{Breaches: []string{"reference: p99 is 60ms; the goal is 50ms"}},
			Idle:      &fanout.IdleResult{Sockets: 10_000, Resident: 15 << 10, Heap: 8 << 10, Stack: 2 << 10},
			Reference: step(3300, 100, 0.06, 2),
			Edge:      &fanout.EdgeResult{Highest: highest, Steps: []*fanout.Step{highest, failed(step(120, 10_000, 3, 1), "2 sockets closed with 4008")}},
			Stuck:     []*fanout.Step{step(30, 10_000, 0.1, 2), step(30, 10_000, 0.12, 2)},
		},
		Contest: &contest.Result{Rounds: 2, Seconds: 4, Step: 3, Cases: []*contest.Case{
			{Sockets: 1000, Rate: 100, Samples: map[string][]contest.Sample{
				contest.Spillway:   {{Held: step(100, 1000, 0.01, 5), Edge: step(900, 1000, 0.1, 1)}, {Held: step(100, 1000, 0.01, 5.5), Edge: step(990, 1000, 0.1, 1.1)}},
				contest.Centrifuge: {{Held: step(100, 1000, 0.02, 6.5), Edge: step(600, 1000, 0.2, 1.6)}, {Held: step(100, 1000, 0.01, 6), Edge: step(660, 1000, 0.1, 1.8)}},
				contest.Delayed:    {{Held: step(100, 1000, 0.11, 2), Edge: step(900, 1000, 0.2, 0.9)}, {Held: failed(step(100, 1000, 0.12, 2), "p99 above 1s")}},
			}},
			{Sockets: 10_000, Rate: 10, Samples: map[string][]contest.Sample{
				contest.Spillway:   {{Held: step(10, 10_000, 0.01, 5), Edge: step(90, 10_000, 0.1, 1)}},
				contest.Centrifuge: {{Held: step(10, 10_000, 0.02, 6.5)}},
			}},
		}},
	}
}

// TestStream: the section, as a page has it and where it is made alone.
func TestStream(t *testing.T) {
	page := testPage()
	page.Losses, page.Campaigns, page.Missing, page.Report.Cases = nil, nil, nil, nil
	page.Stream = testStream()
	golden(t, "stream.md", page)
}

func TestStreamIn(t *testing.T) {
	var alone strings.Builder
	s := testStream()
	if err := s.Markdown(&alone); err != nil {
		t.Fatal(err)
	}
	section := alone.String()
	for name, c := range map[string]struct{ page, want string }{
		"no page":        {"", section},
		"none yet":       {"# Results\n", "# Results\n\n" + section},
		"at the end":     {"# Results\n\n## Other\n\n## The stream\n\nold\n### old\n", "# Results\n\n## Other\n\n" + section},
		"before another": {"# Results\n\n## The stream\n\nold\n### old\n\n## Other\n", "# Results\n\n" + section + "\n## Other\n"},
	} {
		if got := string(s.In([]byte(c.page))); got != c.want {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}
