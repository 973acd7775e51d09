package results

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"spillway/bench/ack"
	"spillway/bench/campaign"
	"spillway/bench/machine"
	"spillway/bench/peers/loss"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rounds makes samples of two rounds from figures of the first.
func rounds(rate float64, p50 time.Duration, processor, server float64, mebibytes int64) []ack.Sample {
	first := ack.Sample{
		Rate: rate, P50: p50, P99: 4 * p50, P999: 9 * p50,
		ProcessorPerMillion: processor, ServerPerMillion: server, Memory: mebibytes << 20,
	}
	second := first
	second.Rate *= 1.1
	return []ack.Sample{first, second}
}

func testPage() *Page {
	return &Page{
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 20 * time.Minute,
		Command:  "peers --out RESULTS.md",
		Versions: []Version{{"Spillway", "spillway v1"}, {"Redis", "7.0"}},
		Missing:  []Missing{{"postgres", "postgres is not installed: install it"}},
		Body:     600,
		Report: &ack.Report{
			Machine: machine.Machine{Processor: "A Processor", Cores: 2, System: "linux/amd64", Go: "go1.26"},
			Rounds:  2, Seconds: 2.5,
			Cases: []*ack.Case{{Connections: 64, Samples: map[string][]ack.Sample{
				"ceiling":             rounds(120_000, 400*time.Microsecond, 8, 0, 10),
				"spillway-paused":     rounds(60_000, time.Millisecond, 20, 0, 60),
				"spillway":            rounds(30_000, 2*time.Millisecond, 40, 0, 90),
				"nats-default":        rounds(50_000, 1200*time.Microsecond, 15, 12, 64),
				"xadd-always":         rounds(25_000, 2300*time.Microsecond, 15, 20, 80),
				"xadd-grouped-always": rounds(42_000, 1500*time.Microsecond, 14, 5, 85),
				"nethttp-fsync":       rounds(9_000, 7*time.Millisecond, 90, 0, 12),
				"memory":              rounds(66_000, 900*time.Microsecond, 11, 0, 300),
			}}, {Connections: 512, Samples: map[string][]ack.Sample{ // without Spillway
				"ceiling":      rounds(120_000, 400*time.Microsecond, 8, 0, 10),
				"nats-default": rounds(999.6, 1200*time.Microsecond, 15, 12, 64),
			}}},
		},
		Losses: map[string]loss.Loss{
			"spillway": {Acked: 1_234_567}, "nats-default": {Acked: 1000}, "memory": {Acked: 100_000, Lost: 9},
		},
		LossConnections: 512, LossSeconds: 4,
		Campaigns: []*campaign.Result{
			{
				Preset: "1000mps", Recipients: 60_000, Seconds: 90, Sent: 200_000, Redelivered: 20_000, EventsSeen: 180_000,
				AckSeconds:      campaign.Quantiles{P50: .001, P99: .0123},
				DeliverySeconds: campaign.Quantiles{P50: .004, P99: .3}, GeneratorCPU: 20, ReceiverCPU: 45,
				Verdict: campaign.Verdict{Passed: true, Warnings: []string{"the generator was late"}},
			},
			{
				Preset: "burst10x", Seconds: 5, Rejected: 1, Lost: 2, Burst: &campaign.Burst{Seconds: 2, NormalSeconds: .1, RecoveredAfter: 1},
				Verdict: campaign.Verdict{Breaches: []string{"2 events are lost", "1 post was rejected"}},
			},
		},
	}
}

func golden(t *testing.T, name string, page *Page) {
	t.Helper()
	var out bytes.Buffer
	if err := page.Markdown(&out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s\nwant, as in %s,\n%s", out.Bytes(), path, want)
	}
}

func TestMarkdown(t *testing.T) {
	golden(t, "page.md", testPage())
}

// TestLittle: a page of one receiver, without kills and campaigns.
func TestLittle(t *testing.T) {
	page := testPage()
	page.Losses, page.Campaigns, page.Missing = nil, nil, nil
	page.Report.Cases = page.Report.Cases[1:]
	golden(t, "little.md", page)
}

func TestRecovery(t *testing.T) {
	for _, c := range []struct {
		burst *campaign.Burst
		met   bool
	}{
		{nil, false},
		{&campaign.Burst{Seconds: 10, RecoveredAfter: -1}, false},
		{&campaign.Burst{Seconds: 10}, true},
		{&campaign.Burst{Seconds: 10, RecoveredAfter: 10}, true},
		{&campaign.Burst{Seconds: 10, RecoveredAfter: 11}, false},
	} {
		if g := recoveryOf(c.burst); g.met != c.met {
			t.Errorf("%+v: %+v", c.burst, g)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 999.4: "999", 999.6: "1,000", 1_234_567: "1,234,567", 123_456: "123,456"} {
		if got := thousands(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
	for share, want := range map[float64]string{0: "0.00 %", 1e-9: "< 0.01 %", 0.5: "50.00 %", 1: "100.00 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v is %q, want %q", share, got, want)
		}
	}
}
