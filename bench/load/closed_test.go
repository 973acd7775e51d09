package load

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver counts webhooks and whom they came from; answer may be nil for 200.
type receiver struct {
	*httptest.Server
	webhooks atomic.Int64
	mu       sync.Mutex
	senders  map[string]bool
	answer   func(w http.ResponseWriter, n int64)
}

func startReceiver(t *testing.T, answer func(w http.ResponseWriter, n int64)) *receiver {
	t.Helper()
	r := &receiver{senders: map[string]bool{}, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	_, _ = io.Copy(io.Discard, request.Body)
	r.mu.Lock()
	r.senders[request.RemoteAddr] = true
	r.mu.Unlock()
	if n := r.webhooks.Add(1); r.answer != nil {
		r.answer(w, n)
	}
}

func (r *receiver) address() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *receiver) sendersSeen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.senders)
}

func answered(r *Result) (sum int64) {
	for _, n := range r.Answers {
		sum += n
	}
	return sum
}

func TestClosed(t *testing.T) {
	const connections = 8
	s := startReceiver(t, nil)
	r := Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), connections, 0, 200*time.Millisecond)
	if err := r.Clean(); err != nil {
		t.Fatal(err)
	}
	// Each connection may have one answer that came too late to be counted.
	if n, got := s.webhooks.Load(), r.Answers[200]; got == 0 || got > n || got < n-connections {
		t.Errorf("%d answers counted, %d given", got, n)
	}
	if r.Acks.TotalCount() != r.Answers[200] || r.SentAcks.TotalCount() != r.Answers[200] {
		t.Errorf("%d latencies of %d acks", r.Acks.TotalCount(), r.Answers[200])
	}
	if s.sendersSeen() != connections {
		t.Errorf("%d connections, want %d", s.sendersSeen(), connections)
	}
	if rate := r.Rate(); r.Elapsed != 200*time.Millisecond || rate != float64(r.Answers[200])/0.2 {
		t.Errorf("%.0f a second for %s", rate, r.Elapsed)
	}
	if r.Quantile(50) <= 0 || r.Quantile(50) > r.Quantile(99) {
		t.Errorf("p50 %s, p99 %s", r.Quantile(50), r.Quantile(99))
	}
}

func TestClosedWarmup(t *testing.T) {
	s := startReceiver(t, nil)
	r := Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), 2, 150*time.Millisecond, 50*time.Millisecond)
	if n := s.webhooks.Load(); r.Answers[200] == 0 || r.Answers[200] > n*3/4 {
		t.Errorf("%d of %d answers counted: three quarters came in the warm-up", r.Answers[200], n)
	}
}

func TestClosedRefused(t *testing.T) {
	s := startReceiver(t, func(w http.ResponseWriter, n int64) {
		if n%2 == 0 {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r := Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), 2, 0, 100*time.Millisecond)
	if r.Answers[503] == 0 || r.Refusals.TotalCount() != r.Answers[503] || r.Unsaid != 0 || r.Errors != 0 {
		t.Errorf("%s", r)
	}
	if r.Clean() == nil {
		t.Error("a run with refusals is clean")
	}
}

// TestClosedAnew: a connection that the receiver ends is replaced.
func TestClosedAnew(t *testing.T) {
	s := startReceiver(t, func(w http.ResponseWriter, n int64) { w.Header().Set("Connection", "close") })
	r := Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), 1, 0, 100*time.Millisecond)
	if err := r.Clean(); err != nil {
		t.Fatal(err)
	}
	if n := s.webhooks.Load(); n < 2 || int64(s.sendersSeen()) != n {
		t.Errorf("%d webhooks over %d connections", n, s.sendersSeen())
	}
}

func TestClosedFails(t *testing.T) {
	s := startReceiver(t, func(w http.ResponseWriter, n int64) { panic(http.ErrAbortHandler) })
	r := Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), 3, 0, 10*time.Second)
	if r.Errors != 3 || r.Err == nil || r.Clean() == nil || answered(r) != 0 {
		t.Errorf("%s", r)
	}
	s.Close()
	r = Closed(context.Background(), newTestCampaign(t, 600, s.address()), s.address(), 3, 0, 10*time.Second)
	if r.Errors != 3 || r.Err == nil {
		t.Errorf("nobody listens: %s", r)
	}
}

func TestClosedCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := startReceiver(t, func(_ http.ResponseWriter, n int64) {
		if n == 10 {
			cancel()
		}
	})
	r := Closed(ctx, newTestCampaign(t, 600, s.address()), s.address(), 1, 0, time.Hour)
	if n := answered(r); n < 9 || n > 11 || r.Elapsed > time.Minute {
		t.Errorf("%d answers in %s", n, r.Elapsed)
	}
}
