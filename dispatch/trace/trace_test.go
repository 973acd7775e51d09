package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"spillway/dispatch"
	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// away is an endpoint where nobody listens.
const away = "http://127.0.0.1:1"

func newTracer(t testing.TB, endpoint string, ratio float64, log io.Writer) *Tracer {
	t.Helper()
	tracer, err := New(Config{Endpoint: endpoint, Ratio: ratio, Store: "embedded"}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracer.Close)
	return tracer
}

// lockedBuffer is a bytes.Buffer for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// call is one that applied n events, none but the last to be sampled at a low ratio.
func call(n int) dispatch.Call {
	now := time.Now()
	c := dispatch.Call{Batch: &store.Batch{Source: store.Source{Lane: "bulk"}}, Read: now, Began: now, Ended: now.Add(time.Millisecond)}
	c.Result.Applied = true
	for i := range n {
		uid := event.UID(event.MessageStatus, fmt.Sprint(i))
		for j := 9; j < 16; j++ {
			uid[j] = 0
			if i == n-1 {
				uid[j] = 0xff
			}
		}
		c.Batch.Events = append(c.Batch.Events, event.Event{UID: uid, Type: event.MessageStatus, Received: now})
		c.Seqs = append(c.Seqs, uint64(i+1))
		c.Result.Outcomes = append(c.Result.Outcomes, store.Fresh)
	}
	return c
}

func TestClosesInTime(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	tracer := newTracer(t, server.URL, 1, io.Discard)
	began := time.Now()
	for range 100 { // more than the queue holds
		tracer.Called(call(100))
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("30,000 spans took %s", took)
	}
	began = time.Now()
	tracer.Close()
	tracer.Close()
	if took := time.Since(began); took > flushTimeout+2*time.Second {
		t.Errorf("closed after %s", took)
	}
	tracer.Called(call(1)) // must do no harm
	tracer.Wrote(stream.Written{UID: uuid.New()})
}

// TestCloseFlushes: what waits is sent at the end.
func TestCloseFlushes(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/base/v1/traces" {
			requests.Add(1)
		}
	}))
	defer server.Close()
	tracer := newTracer(t, server.URL+"/base", 1, io.Discard)
	tracer.Called(call(1))
	tracer.Close()
	if requests.Load() != 1 {
		t.Errorf("%d requests, want 1", requests.Load())
	}
}

// TestLog: a collector that takes nothing is logged once, and no secret is.
func TestLog(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush-hush,malformed-and-secret")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not allowed: hush-hush", http.StatusForbidden)
	}))
	defer server.Close()
	var log lockedBuffer
	tracer := newTracer(t, server.URL, 1, &log)
	for range 5 {
		tracer.Called(call(10))
		if err := tracer.provider.ForceFlush(context.Background()); err != nil {
			t.Error(err)
		}
	}
	text := log.String()
	if n := strings.Count(text, "traces are lost"); n != 1 || !strings.Contains(text, "403") {
		t.Errorf("logged %d times", n)
	}
	if !strings.Contains(text, "did not understand a setting") {
		t.Error("the malformed header is not mentioned")
	}
	if strings.Contains(text, "hush") || strings.Contains(text, "malformed") {
		t.Error("a secret is logged")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{{Endpoint: away, Ratio: -0.1}, {Endpoint: away, Ratio: 1.1}, {Endpoint: "::", Ratio: 1}, {Ratio: 1}} {
		if tracer, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v is taken", cfg)
			tracer.Close()
		}
	}
}

// TestSampler: the share of random events taken is the ratio, of UUIDs too.
func TestSampler(t *testing.T) {
	for _, ratio := range []float64{0, 0.001, 0.25, 0.5, 0.75, 1} {
		s, err := newSampler(ratio)
		if err != nil {
			t.Fatal(err)
		}
		const n = 200_000
		taken := 0
		for i := range n {
			if s.takes(event.UID(event.MessageNew, fmt.Sprint(i))) {
				taken++
			}
		}
		if share := float64(taken) / n; share < ratio*0.7-0.0001 || share > ratio*1.3+0.0001 || (ratio == 1 && taken < n) {
			t.Errorf("ratio %v takes %v", ratio, share)
		}
	}
	for ratio, want := range map[float64]string{1: "th:0", 0.5: "th:8", 0.25: "th:c", 0.001: "th:ffbe76c8b43958"} {
		if s, _ := newSampler(ratio); s.state.Get("ot") != want {
			t.Errorf("ratio %v: state %s, want %s", ratio, s.state, want)
		}
	}
}

func TestAcks(t *testing.T) {
	var a acks
	received := time.Now()
	if _, known := a.get(received); known {
		t.Error("knows what it was never told")
	}
	for wait, want := range map[time.Duration]time.Duration{
		1500 * time.Microsecond: 1500 * time.Microsecond, -time.Second: 0, 5 * time.Minute: 5 * time.Minute, 0: 0,
	} {
		a.put(received, received.Add(wait))
		if acked, known := a.get(received); !known || acked.Sub(received) != want {
			t.Errorf("after %s: %s, %t", wait, acked.Sub(received), known)
		}
	}
	if _, known := a.get(received.Add(time.Nanosecond)); known {
		t.Error("knows another one")
	}
	for i := range 10 * len(a) {
		at := received.Add(time.Duration(i) * time.Microsecond)
		a.put(at, at.Add(time.Duration(i)*time.Microsecond))
	}
	right := 0
	for i := range 10 * len(a) {
		at := received.Add(time.Duration(i) * time.Microsecond)
		switch acked, known := a.get(at); {
		case known && acked.Sub(at) != time.Duration(i)*time.Microsecond:
			t.Fatalf("webhook %d: acked after %s", i, acked.Sub(at))
		case known:
			right++
		}
	}
	if right < len(a)/2 {
		t.Errorf("%d are known, of %d slots", right, len(a))
	}
}

func TestErrorType(t *testing.T) {
	secret := errors.New("key spillway:{00}:contact:1:15551234567")
	for err, want := range map[error]string{
		fmt.Errorf("apply: %w", context.DeadlineExceeded): "timeout",
		fmt.Errorf("apply: %w", secret):                   "*errors.errorString",
	} {
		if got := errorType(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestTypeName(t *testing.T) {
	for text, want := range map[string]string{
		"message:new": "message:new", "webhook:account_update": "webhook:account_update", "webhook:errors": "webhook:errors",
		"webhook:15551234567": "webhook:*", "webhook:a1b": "webhook:*", "webhook:" + strings.Repeat("a", 65): "webhook:*",
	} {
		if got := typeName(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestUnsampledAllocations: an event that is not sampled costs a compare.
func TestUnsampledAllocations(t *testing.T) {
	tracer := newTracer(t, away, 0.001, io.Discard)
	c := call(1000)
	c.Batch.Events, c.Seqs = c.Batch.Events[:999], c.Seqs[:999]
	uid := c.Batch.Events[0].UID
	var told dispatch.Tracer = tracer
	n := testing.AllocsPerRun(100, func() {
		told.Called(c)
		tracer.Samples(uid)
		tracer.Acked(c.Read)
	})
	if n > 1 { // the call's
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCalled is a batch of a thousand events, of which none, one, or all are
// traced.
func BenchmarkCalled(b *testing.B) {
	for name, ratio := range map[string]float64{"none": 0, "one": 0.001, "all": 1} {
		b.Run(name, func(b *testing.B) {
			tracer := newTracer(b, away, ratio, io.Discard)
			c := call(1000)
			b.ReportAllocs()
			for b.Loop() {
				tracer.Called(c)
			}
		})
	}
}

func BenchmarkAcked(b *testing.B) {
	tracer := newTracer(b, away, 0.001, io.Discard)
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		tracer.Acked(at)
	}
}
