package campaign

import (
	"fmt"
	"time"
)

// mostOver is the share of answers that Meta lets take more than a second.
const mostOver = 0.01

// mostBehind is the share of posts off schedule above which a warning is due.
const mostBehind = 0.01

// judge gives the verdict on a result: whether all that was acked came once and
// in order, all was acked in the end, and the answers kept Meta's limits. cut
// says why the campaign was cut short, if it was.
func judge(r *Result, cut string) Verdict {
	v := Verdict{Breaches: []string{}, Warnings: []string{}}
	breach := func(broken bool, format string, args ...any) {
		if broken {
			v.Breaches = append(v.Breaches, fmt.Sprintf(format, args...))
		}
	}
	breach(cut != "", "%s", cut)
	breach(r.Acked == 0, "nothing was acked")
	whole := cut == "" // else what is missing may have been under way
	breach(whole && r.Lost > 0, "%d of %d acked events never came", r.Lost, r.EventsExpected)
	breach(r.Duplicated > 0, "%d events came more than once, or under another's uid", r.Duplicated)
	breach(r.OutOfOrder > 0, "%d events came before one that was acked before theirs was sent", r.OutOfOrder)
	breach(whole && r.Unacked > 0, "%d of %d webhooks were never acked", r.Unacked, r.Webhooks)
	breach(whole && r.KillEvery > 0 && r.Kills == 0, "the campaign was over before the receiver was killed")
	breach(r.AckSeconds.P50 > median.Seconds(), "half of the acks took more than %s; Meta asks for %s", text(r.AckSeconds.P50), median)
	breach(r.OverSecond > mostOver, "%.2f %% of the posts took more than a second or got no answer; Meta asks for under %.0f %%",
		100*r.OverSecond, 100*mostOver)
	v.Passed = len(v.Breaches) == 0

	warn := func(due bool, format string, args ...any) {
		if due {
			v.Warnings = append(v.Warnings, fmt.Sprintf(format, args...))
		}
	}
	behind := r.BehindSchedule
	warn(behind.Share > mostBehind, "%.1f %% of the posts began more than %s late, one by %s: less was asked of the receiver than planned; the latencies hold, for they count from the schedule",
		100*behind.Share, tolerance, text(behind.MaxSeconds))
	warn(r.Rejected > 0, "%d posts were rejected, and sent again", r.Rejected)
	warn(r.Unanswered > 0, "%d posts got no answer, and were sent again", r.Unanswered)
	return v
}

// text is a time in seconds to three digits.
func text(s float64) string {
	d := seconds(s)
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
