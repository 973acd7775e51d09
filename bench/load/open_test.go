package load

import (
	"context"
	"net/http"
	"testing"
	"time"
)

func TestOpenConfig(t *testing.T) {
	good := OpenConfig{Rate: 1000, Connections: 10, Duration: time.Second}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*OpenConfig){
		"no rate":                func(c *OpenConfig) { c.Rate = 0 },
		"too high a rate":        func(c *OpenConfig) { c.Rate = 1_000_001 },
		"no connections":         func(c *OpenConfig) { c.Connections = 0 },
		"too many connections":   func(c *OpenConfig) { c.Connections = 10_001 },
		"no duration":            func(c *OpenConfig) { c.Duration = 0 },
		"too long a duration":    func(c *OpenConfig) { c.Duration = maxDuration + 1 },
		"nothing that is proper": func(c *OpenConfig) { *c = OpenConfig{} },
	} {
		c := good
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
		if r := Open(context.Background(), newTestCampaign(t, 600, "h"), "h", c); r.Err == nil {
			t.Errorf("%s: run", name)
		}
	}
}

// TestOpen: what is due is sent, as often as it is due, and each kind of answer
// is counted.
func TestOpen(t *testing.T) {
	s := startReceiver(t, func(w http.ResponseWriter, n int64) {
		switch n % 4 {
		case 0:
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Connection", "close")
		}
	})
	began := time.Now()
	r := Open(context.Background(), newTestCampaign(t, 600, s.address()), s.address(),
		OpenConfig{Rate: 1000, Connections: 20, Duration: 400 * time.Millisecond})
	if took := time.Since(began); took < 399*time.Millisecond {
		t.Errorf("%d webhooks were sent within %s", answered(r), took)
	}
	sent := answered(r)
	if r.Errors != 0 || sent != s.webhooks.Load() || sent+r.Unsent != 400 {
		t.Fatalf("%d webhooks received; %s", s.webhooks.Load(), r)
	}
	if r.Answers[200] != sent-r.Answers[503] || r.Unsaid != (sent+3)/4 || r.Answers[503] != r.Unsaid+sent/4 {
		t.Errorf("%s", r)
	}
	if r.Acks.TotalCount() != r.Answers[200] || r.SentAcks.TotalCount() != r.Answers[200] ||
		r.Refusals.TotalCount() != r.Answers[503] || r.SentRefusals.TotalCount() != r.Answers[503] {
		t.Errorf("%d and %d latencies of %s", r.Acks.TotalCount(), r.Refusals.TotalCount(), r)
	}
}

// TestOpenFallsBehind: a receiver that takes 20 ms for each webhook of one
// connection takes 50 a second. At 500 a second the wait for the connection is
// part of the latency.
func TestOpenFallsBehind(t *testing.T) {
	const takes = 20 * time.Millisecond
	s := startReceiver(t, func(http.ResponseWriter, int64) { time.Sleep(takes) })
	r := Open(context.Background(), newTestCampaign(t, 600, s.address()), s.address(),
		OpenConfig{Rate: 500, Connections: 1, Duration: 500 * time.Millisecond})
	sent := answered(r)
	if sent > 26 || sent+r.Unsent != 250 {
		t.Errorf("%s", r)
	}
	// The last of n sends was due after 2n ms, and the ones before it took 20n.
	if least := time.Duration(sent-1) * 18 * time.Millisecond; r.Late < least*95/100 {
		t.Errorf("late by %s after %d sends, want %s at least", r.Late, sent, least)
	}
	if late, lag := r.Quantile(100), r.Late; late < lag {
		t.Errorf("the largest latency is %s, with a send that was late by %s", late, lag)
	}
	if least := Quantile(r.SentAcks, 0); least < takes*95/100 {
		t.Errorf("from the send it took %s at least, want %s", least, takes)
	}
}

func TestOpenFails(t *testing.T) {
	s := startReceiver(t, func(_ http.ResponseWriter, n int64) {
		if n == 5 {
			panic(http.ErrAbortHandler)
		}
	})
	cfg := OpenConfig{Rate: 100, Connections: 2, Duration: 200 * time.Millisecond}
	c := newTestCampaign(t, 600, s.address())
	if r := Open(context.Background(), c, s.address(), cfg); r.Errors != 1 || r.Err == nil || answered(r) != 19-r.Unsent {
		t.Errorf("one connection is cut: %s", r)
	}
	s.Close()
	if r := Open(context.Background(), c, s.address(), cfg); r.Err == nil || answered(r) != 0 {
		t.Errorf("nobody listens: %s", r)
	}
}

func TestOpenCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := startReceiver(t, func(_ http.ResponseWriter, n int64) {
		if n == 5 {
			cancel()
		}
	})
	r := Open(ctx, newTestCampaign(t, 600, s.address()), s.address(), OpenConfig{Rate: 100, Connections: 2, Duration: time.Hour})
	if r.Elapsed > time.Minute || answered(r) < 4 || answered(r) > 6 {
		t.Errorf("%s in %s", r, r.Elapsed)
	}
}
