package campaign

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Text writes the result for a person to read, the verdict last.
func (r *Result) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	line("machine", "%s", r.Machine)
	line("campaign", "%s, seed %d: %d recipients, %v messages a second, %.1f s", r.Preset, r.Seed, r.Recipients, r.Rate, r.Seconds)
	line("webhooks", "%d: %d acked, %d never", r.Webhooks, r.Acked, r.Unacked)
	line("posts", "%d: %d redelivered, %d rejected, %d not answered", r.Sent, r.Redelivered, r.Rejected, r.Unanswered)
	line("events", "%d expected, %d seen: %d lost, %d duplicated, %d out of order",
		r.EventsExpected, r.EventsSeen, r.Lost, r.Duplicated, r.OutOfOrder)
	line("ack", "%s, %.2f %% above 1 s", r.AckSeconds, 100*r.OverSecond)
	line("delivery", "%s", r.DeliverySeconds)
	if b := r.Burst; b != nil && b.RecoveredAfter >= 0 {
		line("burst", "of %.0f s; delivery was back below %s %.0f s after it", b.Seconds, text(b.NormalSeconds), b.RecoveredAfter)
	} else if b != nil {
		line("burst", "of %.0f s; delivery was not back below %s after it", b.Seconds, text(b.NormalSeconds))
	}
	if r.Kills > 0 {
		line("killed", "%d times", r.Kills)
	}
	line("generator", "%.2f of a core, %.2f %% of the posts more than %s late, %s at most",
		r.GeneratorCPU/r.Seconds, 100*r.BehindSchedule.Share, tolerance, text(r.BehindSchedule.MaxSeconds))
	if r.ReceiverCPU > 0 {
		line("receiver", "%.2f of a core", r.ReceiverCPU/r.Seconds)
	}
	for _, warning := range r.Verdict.Warnings {
		line("note", "%s", warning)
	}
	verdict := "PASSED: all that was acked came, once and in order"
	if !r.Verdict.Passed {
		verdict = "FAILED"
	}
	line("verdict", "%s", verdict)
	for _, breach := range r.Verdict.Breaches {
		line("", "%s", breach)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// String is all of them in a line.
func (q Quantiles) String() string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s", text(q.P50), text(q.P90), text(q.P99), text(q.P999), text(q.Max))
}
