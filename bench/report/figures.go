package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"spillway/bench/campaign"
)

// group is rows of a table under a heading.
type group struct {
	Name string
	Rows []row
}

// row is one figure, with a cell for each run.
type row struct {
	Name, Limit string
	Cells       []cell
}

// cell is a figure of a run. Bad is one that must not be.
type cell struct {
	Text string
	Bad  bool
}

// describe makes a row of what of tells about each run.
func describe(runs []Run, name string, of func(*campaign.Result) string) row {
	return limited(runs, name, "", func(r *campaign.Result) (string, bool) { return of(r), false })
}

// counted is a row of a number.
func counted(runs []Run, name string, of func(*campaign.Result) int64) row {
	return describe(runs, name, func(r *campaign.Result) string { return count(of(r)) })
}

// none is a row of a number that should be 0.
func none(runs []Run, name string, of func(*campaign.Result) int64) row {
	return limited(runs, name, "", func(r *campaign.Result) (string, bool) { return count(of(r)), of(r) != 0 })
}

// limited is a row of a figure that may be bad.
func limited(runs []Run, name, limit string, of func(*campaign.Result) (string, bool)) row {
	r := row{Name: name, Limit: limit}
	for i := range runs {
		text, bad := of(&runs[i].Result)
		r.Cells = append(r.Cells, cell{text, bad})
	}
	return r
}

// whatRan are the rows about what was run.
func whatRan(runs []Run) []group {
	return []group{{"Campaign", []row{
		describe(runs, "Preset", func(r *campaign.Result) string { return cmp.Or(r.Preset, "none") }),
		counted(runs, "Recipients", func(r *campaign.Result) int64 { return int64(r.Recipients) }),
		describe(runs, "Rate", func(r *campaign.Result) string { return figure(r.Rate) + " messages a second" }),
		describe(runs, "Seed", func(r *campaign.Result) string { return fmt.Sprint(r.Seed) }),
		describe(runs, "Began", func(r *campaign.Result) string { return r.Began.UTC().Format("2006-01-02 15:04:05") + " UTC" }),
		describe(runs, "Took", func(r *campaign.Result) string { return span(r.Seconds) }),
	}}, {"Receiver", []row{
		describe(runs, "Receiver", func(r *campaign.Result) string {
			if r.Receiver == "own" {
				return "the benchmark's own"
			}
			return r.Receiver
		}),
		describe(runs, "Events seen by", func(r *campaign.Result) string { return r.Subscription }),
		describe(runs, "Killed", killed),
		describe(runs, "Version of the benchmark", func(r *campaign.Result) string { return r.Version }),
		describe(runs, "Machine of the benchmark", func(r *campaign.Result) string { return r.Machine.String() }),
	}}}
}

// killed says how often, and how far apart.
func killed(r *campaign.Result) string {
	times := "never"
	switch {
	case r.Kills == 1:
		times = "once"
	case r.Kills > 1:
		times = count(int64(r.Kills)) + " times"
	}
	if r.KillEvery > 0 {
		times += ", every " + span(r.KillEvery)
	}
	return times
}

// keyFigures are the rows of what came of the runs.
func keyFigures(runs []Run) []group {
	return []group{
		{"Posts", []row{
			counted(runs, "Webhooks", func(r *campaign.Result) int64 { return r.Webhooks }),
			counted(runs, "Sent", func(r *campaign.Result) int64 { return r.Sent }),
			counted(runs, "– of them redelivered", func(r *campaign.Result) int64 { return r.Redelivered }),
			counted(runs, "– of them retried", func(r *campaign.Result) int64 { return r.Retried }),
			counted(runs, "Webhooks acked", func(r *campaign.Result) int64 { return r.Acked }),
			none(runs, "Webhooks never acked", func(r *campaign.Result) int64 { return r.Unacked }),
			counted(runs, "Posts rejected", func(r *campaign.Result) int64 { return r.Rejected }),
			counted(runs, "Posts unanswered", func(r *campaign.Result) int64 { return r.Unanswered }),
			describe(runs, "Answers by status", answers),
		}},
		{"Events", []row{
			counted(runs, "Expected", func(r *campaign.Result) int64 { return r.EventsExpected }),
			counted(runs, "Seen", func(r *campaign.Result) int64 { return r.EventsSeen }),
			none(runs, "Lost", func(r *campaign.Result) int64 { return r.Lost }),
			none(runs, "Duplicated", func(r *campaign.Result) int64 { return r.Duplicated }),
			none(runs, "Out of order", func(r *campaign.Result) int64 { return r.OutOfOrder }),
		}},
		{"Ack latency", append(quantileRows(runs, func(r *campaign.Result) campaign.Quantiles { return r.AckSeconds }, metaMedian.seconds),
			limited(runs, "Not answered within 1\u00a0s", "Meta: at most 1\u00a0%", func(r *campaign.Result) (string, bool) {
				return percent(r.OverSecond), r.OverSecond > 1-metaOver.share
			}))},
		{"Delivery latency", quantileRows(runs, func(r *campaign.Result) campaign.Quantiles { return r.DeliverySeconds }, 0)},
		{"Load generator", []row{
			describe(runs, "Posts behind schedule", func(r *campaign.Result) string {
				return fmt.Sprintf("%s (%s)", count(r.BehindSchedule.Posts), percent(r.BehindSchedule.Share))
			}),
			describe(runs, "Late by at most", func(r *campaign.Result) string { return latency(r.BehindSchedule.MaxSeconds) }),
			describe(runs, "Processor time", func(r *campaign.Result) string { return span(r.GeneratorCPU) }),
			describe(runs, "Receiver's processor time", func(r *campaign.Result) string {
				if r.ReceiverCPU == 0 {
					return "not known"
				}
				return span(r.ReceiverCPU)
			}),
		}},
	}
}

// quantileRows are latencies; medianLimit is in seconds, 0 for none.
func quantileRows(runs []Run, of func(*campaign.Result) campaign.Quantiles, medianLimit float64) []row {
	limitText := ""
	if medianLimit > 0 {
		limitText = "Meta: at most " + latency(medianLimit)
	}
	at := func(name string, q func(campaign.Quantiles) float64) row {
		return describe(runs, name, func(r *campaign.Result) string { return quantile(q(of(r))) })
	}
	return []row{
		limited(runs, "p50 (median)", limitText, func(r *campaign.Result) (string, bool) {
			return quantile(of(r).P50), medianLimit > 0 && of(r).P50 > medianLimit
		}),
		at("p90", func(q campaign.Quantiles) float64 { return q.P90 }),
		at("p99", func(q campaign.Quantiles) float64 { return q.P99 }),
		at("p99.9", func(q campaign.Quantiles) float64 { return q.P999 }),
		at("max", func(q campaign.Quantiles) float64 { return q.Max }),
	}
}

// answers are counts by status, in the order of the statuses.
func answers(r *campaign.Result) string {
	var all []string
	for _, status := range slices.Sorted(maps.Keys(r.Answers)) {
		all = append(all, fmt.Sprintf("%d: %s", status, count(r.Answers[status])))
	}
	if len(all) == 0 {
		return "–"
	}
	return strings.Join(all, ", ")
}
