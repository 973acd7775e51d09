package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// put adds n frames of so many bytes, and tells whether the queue takes them.
func put(tp *tape, q *queue, n, bytes int) bool {
	for range n {
		tp.append(make([]byte, bytes), mark{}, 0, maxChunk)
	}
	return !q.overruns(tp, int64(n), int64(n*bytes))
}

func TestQueueBounds(t *testing.T) {
	tp, q := newTape(), &queue{maxFrames: 4, maxBytes: 1000}
	q.begin(tp)
	if !put(tp, q, 10, 200) {
		t.Error("an empty queue refused a batch above its bounds")
	}
	if put(tp, q, 1, 1) {
		t.Error("a full queue took one more")
	}
	takeAll(q)
	for range 4 {
		if !put(tp, q, 1, 10) {
			t.Fatal("refused what fits")
		}
	}
	r, waiting, state := q.take()
	if len(r.notes) != 4 || waiting != 4 || state != flowing {
		t.Errorf("took %d of %d, state %d", len(r.notes), waiting, state)
	}
	if put(tp, q, 1, 1) {
		t.Error("what is being written does not count")
	}
	q.written(r)
	takeAll(q)
	if !q.drained() {
		t.Error("not drained when all is written")
	}
	if !put(tp, q, 1, 900) || put(tp, q, 1, 101) {
		t.Error("the bound of bytes is wrong")
	}
	q.stop(overrun)
	if _, _, state := q.take(); state != overrun || q.flows() || q.drained() {
		t.Errorf("state %d after a stop", state)
	}
	q.begin(tp)
	if r, waiting, _ := q.take(); len(r.notes) != 0 || waiting != 0 {
		t.Errorf("begins with %d of %d frames from before", len(r.notes), waiting)
	}
}

// TestTape reads a tape from many places while it is written, frames of all sizes.
func TestTape(t *testing.T) {
	const frames, readers = 20_000, 8
	random := rand.New(rand.NewPCG(1, 2))
	wires := make([][]byte, frames)
	for i := range wires {
		size := 20 + random.IntN(2000)
		if i%500 == 0 {
			size = bigFrame + random.IntN(bigFrame)
		}
		wires[i] = append(fmt.Appendf(nil, "%08d", i), bytes.Repeat([]byte{byte(i)}, size)...)
	}
	tp := newTape()
	var all sync.WaitGroup
	for range readers {
		q := &queue{maxFrames: frames, maxBytes: 1 << 40}
		q.begin(tp)
		all.Go(func() {
			for next := 0; next < frames; {
				r, _, _ := q.take()
				want := bytes.Join(wires[next:next+len(r.notes)], nil)
				if !bytes.Equal(r.wire, want) {
					t.Errorf("frames from %d on are not what was appended", next)
					return
				}
				end := r.start
				for _, n := range r.notes {
					end += len(wires[next])
					if n.mark.place.Ms != uint64(next) || n.end != end {
						t.Errorf("frame %d: note %+v, want end %d", next, n, end)
						return
					}
					next++
				}
				q.written(r)
			}
		})
	}
	for i, wire := range wires {
		tp.append(wire, mark{place: store.Place{Ms: uint64(i)}}, 0, maxChunk)
	}
	all.Wait()
}

// TestTapeRoom: a quiet group has a small chunk, one of many groups no large one.
func TestTapeRoom(t *testing.T) {
	tp := newTape()
	if n := len(tp.tail.wire); n != 0 {
		t.Errorf("an unused tape has room for %d bytes", n)
	}
	largest := func(tp *tape, limit int) (most int) {
		for range 1000 {
			tp.append(make([]byte, 500), mark{}, 0, limit)
			most = max(most, len(tp.tail.wire))
		}
		return most
	}
	if got := largest(tp, maxChunk); got != maxChunk {
		t.Errorf("a busy tape's chunks grow to %d bytes, want %d", got, maxChunk)
	}
	if got := largest(newTape(), 3000); got > 3000 {
		t.Errorf("a tape's chunk has %d bytes, want 3000 at most", got)
	}
	shared := make([]byte, bigFrame)
	tp.append(shared, mark{}, 0, maxChunk)
	if &tp.tail.wire[0] != &shared[0] {
		t.Error("a big frame was copied")
	}
}

// TestHubAllocations holds the fan-out to a number: an event costs its frame and
// what filters have to know of it, a socket nothing.
func TestHubAllocations(t *testing.T) {
	h, sockets, round := loadedHub(1000)
	perRound := testing.AllocsPerRun(50, func() {
		_ = h.emit(round)
		for _, k := range sockets {
			takeAll(&k.queue)
		}
	})
	if perRound > 32*16 {
		t.Errorf("a round of 32 events to 1000 sockets makes %v allocations, want 16 an event at most", perRound)
	}
}

// takeAll takes and writes until nothing is left.
func takeAll(q *queue) {
	for {
		r, _, _ := q.take()
		if len(r.notes) == 0 {
			return
		}
		q.written(r)
	}
}

func BenchmarkHub(b *testing.B) { benchmarkHub(b, nil) }

// BenchmarkHubTraced has a thousandth of the events traced.
func BenchmarkHubTraced(b *testing.B) {
	n := 0
	benchmarkHub(b, &recorder{samples: func(uuid.UUID) bool { n++; return n%1000 == 0 }})
}

func benchmarkHub(b *testing.B, tracer Tracer) {
	h, sockets, round := loadedHubTraced(10_000, tracer)
	b.ReportAllocs()
	for b.Loop() {
		_ = h.emit(round)
		for _, k := range sockets {
			takeAll(&k.queue)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32/10_000, "ns/delivery")
}

func loadedHub(n int) (*hub, []*socket, store.Round) { return loadedHubTraced(n, nil) }

// loadedHubTraced has sockets under four filters, and a round of 32 events for all.
func loadedHubTraced(n int, tracer Tracer) (*hub, []*socket, store.Round) {
	h := newHub(1, 1024, prometheus.NewCounter(prometheus.CounterOpts{Name: "x", Help: "x"}), newCrew(1024, 1<<30))
	h.tracer = tracer
	_ = h.emit(store.Round{Complete: store.Place{Ms: 1}})
	filters := []*filter{
		newFilter(&Claims{}, "", ""), newFilter(&Claims{}, "message:*", ""),
		newFilter(&Claims{}, "", "1"), newFilter(&Claims{WABAIDs: []string{"w"}}, "", "1"),
	}
	sockets := make([]*socket, n)
	for i := range sockets {
		sockets[i] = &socket{queue: queue{maxFrames: 1024, maxBytes: 1 << 30}, filter: filters[i%4]}
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
