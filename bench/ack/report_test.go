package ack

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"spillway/bench/machine"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample makes one of round figures.
func sample(rate float64, p50 time.Duration, processor, records float64, lags ...float64) Sample {
	return Sample{
		Rate: rate, P50: p50, P99: 4 * p50, P999: 9 * p50,
		ProcessorPerMillion: processor, RecordsPerSync: records, Lags: lags,
	}
}

// testReport has one connection, where the sync is compared, and many.
func testReport() *Report {
	one := &Case{
		Body: 600, Connections: 1,
		Syncs: []time.Duration{100 * time.Microsecond, 120 * time.Microsecond, 110 * time.Microsecond},
		Samples: map[string][]Sample{
			Ceiling: {sample(20_000, 40*time.Microsecond, 9, 0), sample(21_000, 40*time.Microsecond, 9, 0), sample(19_000, 40*time.Microsecond, 9, 0)},
			File:    {sample(5_000, 150*time.Microsecond, 20, 1), sample(5_100, 150*time.Microsecond, 20, 1), sample(4_900, 150*time.Microsecond, 20, 1)},
			Paused:  {sample(5_000, 160*time.Microsecond, 25, 1), sample(4_200, 168*time.Microsecond, 25, 1), sample(5_700, 154*time.Microsecond, 25, 1)},
			Serve:   {sample(4_000, 170*time.Microsecond, 40, 1, .01, .01), sample(4_200, 170*time.Microsecond, 40, 1, .01, .02), sample(3_800, 170*time.Microsecond, 40, 1, .01, .03)},
		},
	}
	many := &Case{
		Body: 2048, Connections: 512,
		Syncs: []time.Duration{time.Millisecond, 2 * time.Millisecond},
		Samples: map[string][]Sample{
			Ceiling: {sample(80_000, 6*time.Millisecond, 10.25, 0), sample(100_000, 5*time.Millisecond, 10.75, 0)},
			File:    {sample(60_000, 8*time.Millisecond, 12, 200), sample(60_000, 8*time.Millisecond, 12, 220)},
			Paused:  {sample(72_000, 7*time.Millisecond, 15, 210), sample(80_000, 7*time.Millisecond, 15, 230)},
			Serve:   {sample(48_000, 150*time.Millisecond, 22, 180), sample(45_000, 150*time.Millisecond, 22, 180)},
		},
	}
	onRedis := func(s Sample, redis float64) Sample {
		s.ServerPerMillion = redis
		return s
	}
	few := &Case{ // of the kinds
		Body: 600, Connections: 1,
		Syncs: []time.Duration{time.Millisecond, time.Millisecond},
		Samples: map[string][]Sample{
			Ceiling: {sample(20_000, 40*time.Microsecond, 9, 0), sample(20_000, 40*time.Microsecond, 9, 0)},
			OnRedis: {
				onRedis(sample(5_000, 200*time.Microsecond, 30, 1, .01, .04), 8),
				onRedis(sample(4_000, 220*time.Microsecond, 32, 1, .03, .08), 9),
			},
			GroupedXADD: {
				onRedis(sample(4_000, 240*time.Microsecond, 20, 1), 5.5),
				onRedis(sample(4_000, 240*time.Microsecond, 20, 1), 5.5),
			},
		},
	}
	one.compare()
	many.compare()
	few.compare()
	return &Report{
		Machine: machine.Machine{Processor: "A Processor", Cores: 2, System: "linux/amd64", Go: "go1.26"},
		Rounds:  3, Seconds: 2.5, Cases: []*Case{one, many, few},
	}
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant, as in %s,\n%s", got, path, want)
	}
}

func TestReportText(t *testing.T) {
	var out bytes.Buffer
	if err := testReport().Text(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", out.Bytes())
}

func TestReportJSON(t *testing.T) {
	out, err := json.MarshalIndent(testReport(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(out, '\n'))
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
		text   string
	}{
		{[]float64{3}, Spread{3, 3, 3}, "3.00 (3.00–3.00)"},
		{[]float64{4, 1}, Spread{2.5, 1, 4}, "2.50 (1.00–4.00)"},
		{[]float64{0.9, 0.7, 0.8}, Spread{0.8, 0.7, 0.9}, "0.80 (0.70–0.90)"},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4}, "2.50 (1.00–4.00)"},
	} {
		values := append([]float64(nil), c.values...)
		if got := SpreadOf(values); got != c.want || got.String() != c.text {
			t.Errorf("%v: %s, want %s", c.values, got, c.text)
		}
		for i, v := range values {
			if v != c.values[i] {
				t.Errorf("%v was put in another order: %v", c.values, values)
			}
		}
	}
}

// TestRatiosAreOfOneRound: each round is compared with itself, so that a machine
// that changes its speed between rounds does not show.
func TestRatiosAreOfOneRound(t *testing.T) {
	c := &Case{Connections: 64, Samples: map[string][]Sample{}}
	for _, speed := range []float64{1, 10, 3} {
		for kind, rate := range map[string]float64{Ceiling: 1000, File: 500, Paused: 800, Serve: 400, OnRedis: 300, XADD: 600, GroupedXADD: 900} {
			c.Samples[kind] = append(c.Samples[kind], Sample{Rate: speed * rate})
		}
	}
	c.compare()
	all := map[string]float64{"paused/ceiling": .8, "paused/file": 1.6, "serve/ceiling": .4, "redis/ceiling": .3, "redis/xadd": .5, "redis/xadd-grouped": 1. / 3}
	if len(c.Ratios) != len(all) { // one connection is compared with one sync, many are not
		t.Errorf("ratios %v, want those of %v", c.Ratios, all)
	}
	for name, want := range all {
		got := c.Ratios[name]
		for _, v := range []float64{got.Median, got.Min, got.Max} {
			if math.Abs(v-want) > 1e-9 {
				t.Errorf("%s is %s, want %.2f in every round", name, got, want)
			}
		}
	}
}
