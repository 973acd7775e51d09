package ack

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"spillway/bench/machine"
)

// Report is what was measured, as it is printed with --json.
type Report struct {
	Machine machine.Machine `json:"machine"`
	Rounds  int             `json:"rounds"`
	Seconds float64         `json:"seconds"`
	Cases   []*Case         `json:"cases"`
}

// Case is one combination of body and connections. Samples has one sample a
// round for each kind, in the order of the rounds.
type Case struct {
	Body        int                 `json:"body_bytes"`
	Connections int                 `json:"connections"`
	Syncs       []time.Duration     `json:"fdatasync_p50_ns"`
	Samples     map[string][]Sample `json:"samples"`
	// Ratios are by name: paused/ceiling and so on.
	Ratios map[string]Spread `json:"ratios"`
}

// Sample is one round of one receiver.
type Sample struct {
	Rate float64       `json:"acks_per_second"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	// ProcessorPerMillion is the receiver's processor time, in seconds.
	ProcessorPerMillion float64 `json:"cpu_seconds_per_million"`
	// RedisPerMillion is that of its Redis.
	RedisPerMillion float64 `json:"redis_cpu_seconds_per_million,omitempty"`
	RecordsPerSync  float64 `json:"records_per_sync"`
	// Lags are of dispatching, in seconds, one each second of the round.
	Lags []float64 `json:"lag_seconds,omitempty"`
}

// Spread is a median with the least and the largest of the rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spread(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// String is the median, and the rest in brackets.
func (s Spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max) }

// p50ToSync is a ratio of latencies, where there is one connection.
const p50ToSync = Paused + " p50/fdatasync"

// ratios are those of rates, in the order of the report.
var ratios = []struct{ kind, base string }{
	{Paused, Ceiling}, {Paused, File}, {Serve, Ceiling}, {OnRedis, Ceiling}, {OnRedis, XADD}, {OnRedis, GroupedXADD},
}

func ratioName(kind, base string) string { return kind + "/" + base }

// compare works out the ratios, each of one round, of what was measured.
func (c *Case) compare() {
	c.Ratios = map[string]Spread{}
	for _, r := range ratios {
		if c.has(r.kind) && c.has(r.base) {
			c.Ratios[ratioName(r.kind, r.base)] = c.ratio(r.kind, r.base)
		}
	}
	if c.Connections > 1 || !c.has(Paused) {
		return
	}
	var values []float64
	for i, s := range c.Samples[Paused] {
		values = append(values, s.P50.Seconds()/c.Syncs[i].Seconds())
	}
	c.Ratios[p50ToSync] = spread(values)
}

// has is whether a kind was measured.
func (c *Case) has(kind string) bool { return len(c.Samples[kind]) > 0 }

func (c *Case) ratio(kind, base string) Spread {
	var values []float64
	for i, s := range c.Samples[kind] {
		values = append(values, s.Rate/c.Samples[base][i].Rate)
	}
	return spread(values)
}

// median is that of one figure of a kind.
func (c *Case) median(kind string, of func(Sample) float64) float64 {
	var values []float64
	for _, s := range c.Samples[kind] {
		values = append(values, of(s))
	}
	return spread(values).Median
}

// Text writes the report as tables.
func (r *Report) Text(out io.Writer) error {
	fmt.Fprintf(out, "%s; %d rounds of %.3g s each; medians\n", r.Machine, r.Rounds, r.Seconds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, c := range r.Cases {
		fmt.Fprintf(out, "\n%d-byte webhooks, %d connections; fdatasync p50 %s\n", c.Body, c.Connections, medianDuration(c.Syncs))
		c.table(w)
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		for _, ratio := range ratios {
			c.ratioLine(out, ratioName(ratio.kind, ratio.base))
		}
		c.ratioLine(out, p50ToSync)
	}
	return nil
}

func (c *Case) ratioLine(out io.Writer, name string) {
	if s, ok := c.Ratios[name]; ok {
		fmt.Fprintf(out, "  %-24s %s\n", name, s)
	}
}

// table has a last column where receivers had a Redis.
func (c *Case) table(w io.Writer) {
	head := []string{"", "acks/s", "p50", "p99", "p99.9", "CPU s/million", "records/sync", "lag, s"}
	redis := slices.ContainsFunc(Kinds, func(kind string) bool { return NeedsRedis(kind) && c.has(kind) })
	if redis {
		head = append(head, "Redis CPU s/million")
	}
	fmt.Fprintln(w, strings.Join(head, "\t")+"\t")
	for _, kind := range Kinds {
		if !c.has(kind) {
			continue
		}
		cells := c.cells(kind)
		if redis {
			cells = append(cells, c.redisCell(kind))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
}

func (c *Case) cells(kind string) []string {
	latency := func(of func(Sample) time.Duration) string {
		return rounded(time.Duration(c.median(kind, func(s Sample) float64 { return float64(of(s)) })))
	}
	cells := []string{
		kind,
		fmt.Sprintf("%.0f", c.median(kind, func(s Sample) float64 { return s.Rate })),
		latency(func(s Sample) time.Duration { return s.P50 }),
		latency(func(s Sample) time.Duration { return s.P99 }),
		latency(func(s Sample) time.Duration { return s.P999 }),
		fmt.Sprintf("%.1f", c.median(kind, func(s Sample) float64 { return s.ProcessorPerMillion })),
		"", "",
	}
	if Syncs(kind) {
		cells[6] = fmt.Sprintf("%.1f", c.median(kind, func(s Sample) float64 { return s.RecordsPerSync }))
	}
	if dispatches(kind) {
		cells[7] = c.lag(kind)
	}
	return cells
}

func (c *Case) redisCell(kind string) string {
	if !NeedsRedis(kind) {
		return ""
	}
	return fmt.Sprintf("%.1f", c.median(kind, func(s Sample) float64 { return s.RedisPerMillion }))
}

// lag is the lag at the first and the last look of the rounds, as medians.
func (c *Case) lag(kind string) string {
	var first, last []float64
	for _, s := range c.Samples[kind] {
		if len(s.Lags) > 0 {
			first, last = append(first, s.Lags[0]), append(last, s.Lags[len(s.Lags)-1])
		}
	}
	if len(first) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f → %.2f", spread(first).Median, spread(last).Median)
}

func medianDuration(values []time.Duration) string {
	sorted := slices.Sorted(slices.Values(values))
	return rounded(sorted[len(sorted)/2])
}

// rounded shows three digits at most.
func rounded(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
