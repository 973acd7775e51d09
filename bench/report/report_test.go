package report

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"

	"spillway/bench/campaign"
)

func pageOf(t *testing.T, runs ...Run) string {
	t.Helper()
	var page bytes.Buffer
	if err := Write(&page, runs); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// words are the text of a page without its markup, each space a single one.
func words(page string) string {
	_, body, _ := strings.Cut(page, "<body>")
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " ")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\u00a0", " ")), " ")
}

func TestPageSays(t *testing.T) {
	for _, test := range []struct {
		name string
		runs []Run
		want []string
	}{
		{"passed", []Run{passedRun()}, []string{
			"✓ Passed", "A campaign to 100,000 recipients at 1,000 messages a second",
			"Preset 1000mps", "Seed 42", "Receiver the benchmark&#39;s own", "Began 2026-11-25 09:30:00 UTC", "Took 5 min",
			"AMD EPYC 7B13, 2 cores, linux/amd64, go1.26.8", "v0.5.0-12-g646ffce", "Killed never",
			"Lost 0", "Duplicated 0", "Out of order 0", "p50 (median) Meta: at most 250 ms 2.1 ms", "p99.9 27.3 ms", "max 67.2 ms",
			"Not answered within 1 s Meta: at most 1 % 0.02 %", "Posts behind schedule 213 (0.03 %)", "Late by at most 12.3 ms",
		}},
		{"failed", []Run{failedRun()}, []string{
			"✕ Failed", "Breach: 12 events of acknowledged webhooks were never seen.", "Breach: 2.31 %", "Warning: 1.2 % of the posts began late",
			"Preset none", "Killed 3 times, every 1 min", "Lost ✕ 12", "Out of order ✕ 1", "✕ 310 ms", "✕ 2.31 %",
			"Posts rejected 87", "Posts unanswered 1,204", "503: 87", "Receivers killed: 3.",
		}},
		{"several", []Run{passedRun(), failedRun()}, []string{
			"✕ 1 of 2 runs failed", "1000mps ✓ passed", "kills ✕ failed", "Seed 42 7", "Ack latency: p99", "Rate: events seen",
		}},
		{"two that passed", []Run{passedRun(), pointRun()}, []string{"✓ All 2 runs passed"}},
		{"two that failed", []Run{failedRun(), failedRun()}, []string{"✕ All 2 runs failed"}},
		{"empty", []Run{emptyRun()}, []string{"nothing was measured", "Answers by status –", "max –"}},
	} {
		text := words(pageOf(t, test.runs...))
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q: %s", test.name, want, text)
			}
		}
	}
}

// TestExtremeFigures wants every place to be a number, whatever the figures are.
func TestExtremeFigures(t *testing.T) {
	run := pointRun()
	r := &run.Result
	r.Rate, r.Seconds, r.OverSecond = math.MaxFloat64, -1, math.SmallestNonzeroFloat64
	r.Lost, r.Kills, r.KillEvery = math.MinInt64, math.MaxInt, math.MaxFloat64
	r.AckSeconds = campaign.Quantiles{P50: math.MaxFloat64, P99: -math.MaxFloat64}
	r.Series = []campaign.Point{
		{Second: 0, Sent: math.MinInt64, Acked: math.MaxInt64, Lag: math.MaxFloat64, AckP50: -1, AckP99: math.MaxFloat64, Killed: true},
		{Second: math.MaxInt, Backlog: math.MaxInt64, Lag: -1, AckP50: math.SmallestNonzeroFloat64, DeliveryP99: 1},
	}
	r.AckDistribution = []campaign.Bucket{{Share: math.SmallestNonzeroFloat64}, {Seconds: 1e-300, Share: 1 - 1e-16}, {Seconds: 1e300, Share: 1}}
	page := pageOf(t, run, run)
	for _, broken := range []string{"NaN", "Inf", "ZgotmplZ", "%!"} {
		if strings.Contains(page, broken) {
			t.Errorf("the page has a %s", broken)
		}
	}
	if len(page) > 300<<10 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

func TestNumberOfRuns(t *testing.T) {
	for n, want := range map[int]string{0: "no result", 1: "", mostRuns: "", mostRuns + 1: "7 results are given; allowed: 6"} {
		err := Write(io.Discard, make([]Run, n))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d runs: %v, want %q", n, err, want)
		}
	}
}

// failing takes nothing.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriteFails(t *testing.T) {
	if err := Write(failing{}, []Run{pointRun()}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
}
