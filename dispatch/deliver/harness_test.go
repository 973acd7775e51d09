package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"spillway/dispatch/deliver/post"
	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/embedded"
)

func TestMain(m *testing.M) {
	// It looks every ten seconds whether it was stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const testPartitions = 4

// plainSender posts without any of a real sender's care.
type plainSender struct {
	url    string
	client *http.Client
}

func (s plainSender) Send(ctx context.Context, id string, body []byte) post.Result {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(string(body)))
	if err != nil {
		return post.Result{Outcome: post.Retry, Reason: "request"}
	}
	request.Header.Set("webhook-id", id)
	response, err := s.client.Do(request)
	if ctx.Err() != nil {
		return post.Result{Outcome: post.Stopped}
	}
	if err != nil {
		return post.Result{Outcome: post.Retry, Reason: "network"}
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	code := response.StatusCode
	switch {
	case code < 300:
		return post.Result{Outcome: post.Delivered, Code: code}
	case code == http.StatusGone:
		return post.Result{Outcome: post.Gone, Code: code, Reason: "gone"}
	case code >= 500, code == http.StatusTooManyRequests:
		return post.Result{Outcome: post.Retry, Code: code, Reason: "status"}
	}
	return post.Result{Outcome: post.Refused, Code: code, Reason: "status"}
}

func (s plainSender) Close() { s.client.CloseIdleConnections() }

// target is an endpoint that keeps what it is told.
type target struct {
	*httptest.Server
	mu sync.Mutex
	// answer gives the status for an event, nil for 200.
	answer func(received) int
	got    []received // those answered 2xx, in order
	tries  int
}

type received struct {
	UID     string
	Type    string
	Payload struct {
		ContactID string `json:"contact_id"`
		N         int
	}
}

func newTarget(t *testing.T) *target {
	t.Helper()
	g := &target{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event received
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || event.UID != r.Header.Get("webhook-id") {
			t.Errorf("a body that is no event, or of another id: %v", err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.tries++
		code := http.StatusOK
		if g.answer != nil {
			code = g.answer(event)
		}
		if code < 300 {
			g.got = append(g.got, event)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *target) set(answer func(received) int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func (g *target) events() []received {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]received(nil), g.got...)
}

// rig is a store and what has been put into it.
type rig struct {
	t     testing.TB
	store *embedded.Store
	seq   []uint64 // by partition
	uids  map[string]bool
	n     int
}

func newRig(t testing.TB) *rig { return newRigThatKeeps(t, embedded.DefaultConfig().Retain) }

// newRigThatKeeps has a store that keeps so many events in its streams.
func newRigThatKeeps(t testing.TB, events int64) *rig {
	t.Helper()
	cfg := embedded.DefaultConfig()
	cfg.Dir, cfg.Partitions, cfg.Retain = t.TempDir(), testPartitions, events
	st, err := embedded.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, store: st, seq: make([]uint64, testPartitions), uids: make(map[string]bool)}
}

// put appends events of so many contacts, by turns.
func (r *rig) put(events, contacts int) {
	r.t.Helper()
	batches := make([][]event.Event, testPartitions)
	for range events {
		contact := fmt.Sprintf("contact %d", r.n%contacts)
		p := event.Partition(contact, testPartitions)
		identity := fmt.Sprintf("event %d", r.n)
		e := event.Event{
			Type: "webhook:x", Identity: identity, UID: uuid.NewSHA1(uuid.Nil, []byte(identity)), Received: time.Now(),
			Payload: fmt.Appendf(nil, `{"contact_id":%q,"n":%d}`, contact, r.n),
		}
		r.uids[e.UID.String()] = true
		batches[p] = append(batches[p], e)
		r.n++
	}
	for p, batch := range batches {
		if len(batch) == 0 {
			continue
		}
		from := store.Cursor{Seq: r.seq[p], Hash: r.seq[p]}
		r.seq[p] += uint64(len(batch))
		result, err := r.store.Apply(r.t.Context(), &store.Batch{
			Source: store.Source{Node: "n", Lane: "express"}, Partition: p, From: from,
			To: store.Cursor{Seq: r.seq[p], Hash: r.seq[p]}, Events: batch,
		})
		if err != nil || !result.Applied {
			r.t.Fatalf("apply: %+v, %v", result, err)
		}
	}
}

// deliverer is a running Deliverer.
type deliverer struct {
	*Deliverer
	stop func()
}

func (r *rig) start(endpoints ...Endpoint) *deliverer {
	cfg := DefaultConfig()
	cfg.Interval, cfg.LeaseTTL = 50*time.Millisecond, time.Second
	cfg.Dial = func(e Endpoint) (Sender, error) {
		return plainSender{e.URL, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}, nil
	}
	return r.startWith(cfg, endpoints...)
}

func (r *rig) startWith(cfg Config, endpoints ...Endpoint) *deliverer {
	r.t.Helper()
	d, err := New(cfg, r.store, slog.New(slog.NewTextHandler(testWriter{r.t}, nil)), prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := d.Reload(endpoints); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Run(ctx)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	r.t.Cleanup(stop)
	return &deliverer{d, stop}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func endpointAt(name, url string) Endpoint {
	return Endpoint{Name: name, URL: url, Concurrency: 8, RetryFor: time.Hour, Order: OrderContact, MaxWaiting: 100_000}
}

func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// wantAll waits for every event, once each, and in the order of each contact.
func (r *rig) wantAll(g *target) {
	r.t.Helper()
	r.eventually("all events are delivered", func() bool { return len(g.events()) >= len(r.uids) })
	seen, last := make(map[string]int), make(map[string]int)
	for _, e := range g.events() {
		seen[e.UID]++
		if before, found := last[e.Payload.ContactID]; found && before > e.Payload.N && seen[e.UID] == 1 {
			r.t.Errorf("%s: event %d after %d", e.Payload.ContactID, e.Payload.N, before)
		}
		last[e.Payload.ContactID] = e.Payload.N
	}
	for uid := range r.uids {
		if seen[uid] != 1 {
			r.t.Errorf("%s was delivered %d times", uid, seen[uid])
		}
	}
}
