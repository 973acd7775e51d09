package campaign

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// once gives true the n-th time it is called, and never again.
func once(n int) func() bool {
	return func() bool {
		n--
		return n == 0
	}
}

// TestVerdict runs campaigns against receivers with faults: each is found out, or
// passed where it does no harm.
func TestVerdict(t *testing.T) {
	refuse := func(w http.ResponseWriter, code int) bool {
		w.WriteHeader(code)
		return true
	}
	sleep := func(d time.Duration) func(http.ResponseWriter, int64) bool {
		return func(http.ResponseWriter, int64) bool {
			time.Sleep(d)
			return false
		}
	}
	loses, doubles, renames := once(30), once(30), once(30)
	var held []Event
	var refused sync.Map
	for name, c := range map[string]struct {
		faulty *faulty
		breach string // empty: it passes
		check  func(*Result) bool
	}{
		"does right": {&faulty{}, "", func(r *Result) bool {
			return r.Rejected == 0 && r.Redelivered > 0 && r.EventsExpected == r.EventsSeen && r.EventsSeen > 600
		}},
		"loses one": {&faulty{emit: func(e Event, _ status) []Event {
			if loses() {
				return nil
			}
			return []Event{e}
		}}, "1 of ", func(r *Result) bool { return r.Lost == 1 }},
		"acks and drops": {&faulty{answer: func(w http.ResponseWriter, n int64) bool { return n > 100 && refuse(w, 200) }},
			"acked events never came", func(r *Result) bool { return r.Lost > 100 }},
		"doubles one": {&faulty{emit: func(e Event, _ status) []Event {
			if doubles() {
				return []Event{e, e}
			}
			return []Event{e}
		}}, "1 events came more than once", func(r *Result) bool { return r.Duplicated == 1 }},
		"gives one another's uid": {&faulty{emit: func(e Event, _ status) []Event {
			if renames() {
				other := e
				other.UID[0]++
				return []Event{e, other}
			}
			return []Event{e}
		}}, "1 events came more than once", func(r *Result) bool { return r.Duplicated == 1 }},
		// One status of a message is kept back until all others have come.
		"reorders": {&faulty{emit: func(e Event, s status) []Event {
			if s.status == "sent" && len(held) == 0 {
				held = append(held, e)
				return nil
			}
			if s.status == "read" && len(held) > 0 && strings.Contains(string(held[0].Payload), s.wamid) {
				return []Event{e, held[0]}
			}
			return []Event{e}
		}}, "came before one that was acked before theirs was sent", func(r *Result) bool { return r.OutOfOrder > 0 && r.Lost == 0 }},
		// Not to the end: a webhook may meet it again and again, until it is given up.
		"answers 500 now and then": {&faulty{answer: func(w http.ResponseWriter, n int64) bool { return n%9 == 0 && n < 200 && refuse(w, 500) }},
			"", func(r *Result) bool { return r.Rejected > 10 && r.Retried > 10 && r.Unacked == 0 }},
		"never takes one": {&faulty{answer: func(w http.ResponseWriter, n int64) bool {
			return n > 300 && refuse(w, 503)
		}}, "webhooks were never acked", func(r *Result) bool { return r.Unacked > 0 && r.Lost == 0 }},
		"is a little slow": {&faulty{answer: sleep(50 * time.Millisecond)}, "", func(r *Result) bool { return r.AckSeconds.P50 > 0.05 }},
		"is slow":          {&faulty{answer: sleep(300 * time.Millisecond)}, "half of the acks took more than", nil},
		"is slow at times": {&faulty{answer: func(_ http.ResponseWriter, n int64) bool {
			if n%30 == 0 {
				time.Sleep(1100 * time.Millisecond)
			}
			return false
		}}, "took more than a second", func(r *Result) bool { return r.AckSeconds.P50 < 0.25 }},
		"hangs up at times": {&faulty{answer: func(_ http.ResponseWriter, n int64) bool {
			if _, again := refused.LoadOrStore(n/20, true); n%20 < 3 && !again {
				panic(http.ErrAbortHandler)
			}
			return false
		}}, "took more than a second or got no answer", func(r *Result) bool { return r.Unanswered > 20 && r.Unacked == 0 }},
		"loses its subscriber": {&faulty{ends: 50}, "the subscription ended", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := c.faulty.run(t.Context(), t, quick())
			if err != nil {
				t.Fatal(err)
			}
			breaches := r.Verdict.Breaches
			if !isSlow(c.breach) { // this machine may be busy with other tests
				breaches = slices.DeleteFunc(breaches, isSlow)
			}
			if passed := c.breach == ""; passed != (len(breaches) == 0) || !strings.Contains(strings.Join(breaches, "\n"), c.breach) {
				t.Errorf("breaches %q, want %q", breaches, c.breach)
			}
			if c.check != nil && !c.check(r) {
				r.Series, r.AckDistribution, r.DeliveryDistribution = nil, nil, nil
				t.Errorf("%+v", r)
			}
		})
	}
}

// isSlow is whether a breach is of Meta's limits.
func isSlow(breach string) bool { return strings.Contains(breach, "took more than") }

// TestMistakenCall: a campaign against what is no receiver, or not with this
// secret, ends at once and says so.
func TestMistakenCall(t *testing.T) {
	f := &faulty{t: t}
	receiver, stop := f.receiver()
	receiver.Secret = "another"
	if _, err := Run(t.Context(), quick(), receiver, func(Progress) {}); err == nil || !strings.Contains(err.Error(), "answered 403: is it the app secret") {
		t.Errorf("wrong secret: %v", err)
	}
	unserved := receiver
	unserved.Subscription = &WebSocket{URL: "ws" + strings.TrimPrefix(receiver.URL.String(), "http"), Token: "one"}
	if _, err := Run(t.Context(), quick(), unserved, func(Progress) {}); err == nil || !strings.Contains(err.Error(), "subscribe: ") {
		t.Errorf("nothing to subscribe to: %v", err)
	}
	receiver.Secret = testSecret
	stop()
	if _, err := Run(t.Context(), quick(), receiver, func(Progress) {}); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("nobody listens: %v", err)
	}
	cfg := quick()
	cfg.KillEvery = time.Minute
	if _, err := Run(t.Context(), cfg, receiver, func(Progress) {}); err == nil {
		t.Error("a receiver that cannot be killed is no error")
	}
}

// TestInterrupted: what was found until then is still told.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	cfg := quick()
	cfg.Recipients = 2000
	r, err := (&faulty{}).run(ctx, t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict.Passed || !strings.Contains(r.Verdict.Breaches[0], "interrupted") || r.Acked == 0 {
		t.Errorf("%+v", r.Verdict)
	}
}

func TestJudge(t *testing.T) {
	good := Result{Webhooks: 10, Acked: 10, EventsExpected: 20, EventsSeen: 20, AckSeconds: Quantiles{P50: 0.25}, OverSecond: 0.01}
	for _, c := range []struct {
		name             string
		change           func(*Result)
		breach, warnings int
	}{
		{"good", func(*Result) {}, 0, 0},
		{"nothing acked", func(r *Result) { r.Acked = 0 }, 1, 0},
		{"lost", func(r *Result) { r.Lost = 1 }, 1, 0},
		{"doubled and out of order", func(r *Result) { r.Duplicated, r.OutOfOrder = 1, 1 }, 2, 0},
		{"never acked", func(r *Result) { r.Unacked = 1 }, 1, 0},
		{"never killed", func(r *Result) { r.KillEvery = 5 }, 1, 0},
		{"slow", func(r *Result) { r.AckSeconds.P50 = 0.251 }, 1, 0},
		{"slow tail", func(r *Result) { r.OverSecond = 0.011 }, 1, 0},
		{"generator late", func(r *Result) { r.BehindSchedule.Share = 0.02 }, 0, 1},
		{"rejected", func(r *Result) { r.Rejected, r.Unanswered = 1, 1 }, 0, 2},
	} {
		r := good
		c.change(&r)
		if v := judge(&r, ""); v.Passed != (c.breach == 0) || len(v.Breaches) != c.breach || len(v.Warnings) != c.warnings {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
