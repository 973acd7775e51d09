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
	// ServerPerMillion is that of its server: here a Redis.
	ServerPerMillion float64 `json:"redis_cpu_seconds_per_million,omitempty"`
	// Memory is the most that both had resident in the round, in bytes.
	Memory         int64   `json:"peak_memory_bytes,omitempty"`
	RecordsPerSync float64 `json:"records_per_sync"`
	// Lags are of dispatching, in seconds, one each second of the round.
	Lags []float64 `json:"lag_seconds,omitempty"`
}

// Spread is a median with the least and the largest of the rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf is that of one figure a round, one at least.
func SpreadOf(values []float64) Spread {
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
		if c.Has(r.kind) && c.Has(r.base) {
			c.Ratios[ratioName(r.kind, r.base)] = c.Ratio(r.kind, r.base)
		}
	}
	if c.Connections > 1 || !c.Has(Paused) {
		return
	}
	var values []float64
	for i, s := range c.Samples[Paused] {
		values = append(values, s.P50.Seconds()/c.Syncs[i].Seconds())
	}
	c.Ratios[p50ToSync] = SpreadOf(values)
}

// Has is whether a kind was measured.
func (c *Case) Has(kind string) bool { return len(c.Samples[kind]) > 0 }

// Ratio is that of the rates of two kinds that were measured, each of one round.
func (c *Case) Ratio(kind, base string) Spread {
	var values []float64
	for i, s := range c.Samples[kind] {
		values = append(values, s.Rate/c.Samples[base][i].Rate)
	}
	return SpreadOf(values)
}

// Figure is one figure of a kind that was measured.
func (c *Case) Figure(kind string, of func(Sample) float64) Spread {
	var values []float64
	for _, s := range c.Samples[kind] {
		values = append(values, of(s))
	}
	return SpreadOf(values)
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
	redis := slices.ContainsFunc(Kinds, func(kind string) bool { return NeedsRedis(kind) && c.Has(kind) })
	if redis {
		head = append(head, "Redis CPU s/million")
	}
	fmt.Fprintln(w, strings.Join(head, "\t")+"\t")
	for _, kind := range Kinds {
		if !c.Has(kind) {
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
		return Rounded(time.Duration(c.Figure(kind, func(s Sample) float64 { return float64(of(s)) }).Median))
	}
	cells := []string{
		kind,
		fmt.Sprintf("%.0f", c.Figure(kind, func(s Sample) float64 { return s.Rate }).Median),
		latency(func(s Sample) time.Duration { return s.P50 }),
		latency(func(s Sample) time.Duration { return s.P99 }),
		latency(func(s Sample) time.Duration { return s.P999 }),
		fmt.Sprintf("%.1f", c.Figure(kind, func(s Sample) float64 { return s.ProcessorPerMillion }).Median),
		"", "",
	}
	if Syncs(kind) {
		cells[6] = fmt.Sprintf("%.1f", c.Figure(kind, func(s Sample) float64 { return s.RecordsPerSync }).Median)
	}
	if Dispatches(kind) {
		cells[7] = c.lag(kind)
	}
	return cells
}

func (c *Case) redisCell(kind string) string {
	if !NeedsRedis(kind) {
		return ""
	}
	return fmt.Sprintf("%.1f", c.Figure(kind, func(s Sample) float64 { return s.ServerPerMillion }).Median)
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
	return fmt.Sprintf("%.2f → %.2f", SpreadOf(first).Median, SpreadOf(last).Median)
}

func medianDuration(values []time.Duration) string {
	sorted := slices.Sorted(slices.Values(values))
	return Rounded(sorted[len(sorted)/2])
}

// Rounded shows three digits at most.
func Rounded(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
