package stream

import (
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

func TestQueueBounds(t *testing.T) {
	batch := func(n int) []*frame { return make([]*frame, n) }
	q := newQueue(4, 100)
	if !q.push(batch(10), 1000) {
		t.Error("an empty queue refused a batch above its bounds")
	}
	if q.push(batch(1), 1) {
		t.Error("a full queue took one more")
	}
	if _, _, state := q.take(); state != overrun {
		t.Errorf("state %d after a refused batch", state)
	}
	q.reset()
	for range 4 {
		if !q.push(batch(1), 10) {
			t.Fatal("refused what fits")
		}
	}
	got, waiting, state := q.take()
	if len(got) != 4 || waiting != 4 || state != flowing {
		t.Errorf("took %d of %d, state %d", len(got), waiting, state)
	}
	q.offer(batch(1), 1)
	if got, _, _ := q.take(); len(got) != 0 || !q.flows() {
		t.Error("what is being written does not count, or an offer overran")
	}
	q.written(2, 20)
	if !q.push(batch(2), 60) || q.push(batch(1), 1) {
		t.Error("the bound is wrong after a write")
	}
	q.reset()
	if !q.push(batch(1), 90) || q.push(batch(1), 11) {
		t.Error("the bound of bytes is wrong")
	}
}

// TestHubAllocations holds the fan-out to a number: an event costs its frame
// and what filters have to know of it, a socket nothing but room in its queue.
func TestHubAllocations(t *testing.T) {
	h, sockets, round := loadedHub(1000)
	perRound := testing.AllocsPerRun(50, func() {
		_ = h.emit(round)
		for _, k := range sockets {
			k.queue.mu.Lock()
			k.queue.batches, k.queue.frames, k.queue.bytes = k.queue.batches[:0], 0, 0
			k.queue.mu.Unlock()
		}
	})
	if perRound > 32*16 {
		t.Errorf("a round of 32 events to 1000 sockets makes %v allocations, want 16 an event at most", perRound)
	}
}

func BenchmarkHub(b *testing.B) {
	h, sockets, round := loadedHub(10_000)
	b.ReportAllocs()
	for b.Loop() {
		_ = h.emit(round)
		for _, k := range sockets {
			k.queue.mu.Lock()
			k.queue.batches, k.queue.frames, k.queue.bytes = k.queue.batches[:0], 0, 0
			k.queue.mu.Unlock()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32/10_000, "ns/delivery")
}

// loadedHub has sockets under four filters, and a round of 32 events for all.
func loadedHub(n int) (*hub, []*socket, store.Round) {
	h := newHub(1, 1024, prometheus.NewCounter(prometheus.CounterOpts{Name: "x", Help: "x"}))
	_ = h.emit(store.Round{Complete: store.Place{Ms: 1}})
	filters := []*filter{
		newFilter(&Claims{}, "", ""), newFilter(&Claims{}, "message:*", ""),
		newFilter(&Claims{}, "", "1"), newFilter(&Claims{WABAIDs: []string{"w"}}, "", "1"),
	}
	sockets := make([]*socket, n)
	for i := range sockets {
		sockets[i] = &socket{queue: newQueue(1024, 1<<30), filter: filters[i%4]}
		h.register(sockets[i])
	}
	entries := make([]store.Entry, 32)
	for i := range entries {
		entries[i] = store.Entry{
			Place: store.Place{Ms: 2, Seq: uint64(i)}, UID: uuid.New(), Type: "message:new",
			Payload: []byte(`{"contact_id":"x","phone_number_id":"1","waba_id":"w","content":{"text":"hello"}}`),
		}
	}
	return h, sockets, store.Round{Entries: map[int][]store.Entry{0: entries}, Complete: store.Place{Ms: 1}}
}
