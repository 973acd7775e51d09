package campaign

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/ingest"
)

const testSecret = "a secret"

// faulty is a receiver that does right but for its faults. It is its own
// Subscription.
type faulty struct {
	t *testing.T
	// answer may answer a post in its place; it says whether it did.
	answer func(w http.ResponseWriter, n int64) bool
	// emit may change what an event becomes: none, one or more.
	emit func(Event, status) []Event
	// ends ends the subscription after so many events.
	ends int

	posts  atomic.Int64
	mu     sync.Mutex
	seen   map[string]bool
	events chan Event
}

// status is what the faults look at.
type status struct{ wamid, status string }

func (f *faulty) receiver() (Receiver, func()) {
	f.seen, f.events = map[string]bool{}, make(chan Event, 100_000)
	if f.emit == nil {
		f.emit = func(e Event, _ status) []Event { return []Event{e} }
	}
	server := httptest.NewServer(f)
	u, _ := url.Parse(server.URL + "/api/webhook")
	return Receiver{URL: u, Secret: testSecret, Subscription: f}, server.Close
}

func (f *faulty) Name() string { return "faulty" }

func (f *faulty) Follow(ctx context.Context, sink Sink) error {
	sink.Ready()
	for n := 0; f.ends == 0 || n < f.ends; n++ {
		select {
		case e := <-f.events:
			sink.See(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return io.ErrUnexpectedEOF
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("X-Hub-Signature-256") != ingest.Sign(testSecret, body) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if f.answer != nil && f.answer(w, f.posts.Add(1)) {
		return
	}
	f.take(body)
}

type faultyBody struct {
	Entry []struct {
		Changes []struct {
			Value struct {
				Contacts []struct {
					WaID   string `json:"wa_id"`
					UserID string `json:"user_id"`
				}
				Messages []struct{ ID string }
				Statuses []struct{ ID, Status string }
			}
		}
	}
}

func (f *faulty) take(body []byte) {
	var b faultyBody
	if err := json.Unmarshal(body, &b); err != nil {
		f.t.Errorf("%v: %s", err, body)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, change := range b.Entry[0].Changes {
		v := change.Value
		for _, s := range v.Statuses {
			f.event(event.MessageStatus, s.ID+":"+s.Status, map[string]string{"wamid": s.ID, "status": s.Status}, status{s.ID, s.Status})
		}
		for i, m := range v.Messages {
			c := v.Contacts[i]
			f.event(event.ContactNew, c.WaID+c.UserID, map[string]string{"wa_id": c.WaID, "user_id": c.UserID}, status{})
			f.event(event.MessageNew, m.ID, map[string]string{"wamid": m.ID}, status{wamid: m.ID})
		}
	}
}

func (f *faulty) event(kind, identity string, payload map[string]string, s status) {
	if f.seen[identity] {
		return
	}
	f.seen[identity] = true
	data, _ := json.Marshal(payload)
	for _, e := range f.emit(Event{UID: event.UID(kind, identity), Type: kind, Payload: data}, s) {
		f.events <- e
	}
}

// quick is a campaign of a second.
func quick() Config {
	return Config{
		Recipients: 200, Shape: Shape{Rate: 400, Ramp: 100 * time.Millisecond}, Seed: 7,
		Redeliver: 0.2, Batch: 5, Delays: 0.05, Connections: 100, RetryFor: 8 * time.Second, Settle: 3 * time.Second,
	}
}

func (f *faulty) run(ctx context.Context, t *testing.T, cfg Config) (*Result, error) {
	t.Helper()
	f.t = t
	receiver, stop := f.receiver()
	defer stop()
	return Run(ctx, cfg, receiver, func(Progress) {})
}
