package stream

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// recorder is a Tracer that keeps what it is told.
type recorder struct {
	samples func(uuid.UUID) bool

	mu      sync.Mutex
	written []Written
}

func (r *recorder) Samples(uid uuid.UUID) bool { return r.samples(uid) }

func (r *recorder) Wrote(w Written) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = append(r.written, w)
}

func (r *recorder) told() []Written {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Written(nil), r.written...)
}

// TestTracer: of the events sampled each that a live socket was sent is told once,
// with all live sockets it is for; one that was caught up with is not.
func TestTracer(t *testing.T) {
	tracer := &recorder{samples: func(uid uuid.UUID) bool { return uid[15]%2 == 0 }}
	feed := newMemoryFeed(4)
	before := feed.fill(20)
	r := newRig(t, feed, func(c *Config) { c.Tracer = tracer })
	caught, all, one := r.open("since=0"), r.open(""), r.open("phone_number_id=p0")
	caught.events(before)
	for _, p := range []*peer{all, one} {
		p.live()
	}
	eventually(t, "three live sockets", func() bool {
		r.server.hub.mu.Lock()
		defer r.server.hub.mu.Unlock()
		n := 0
		for _, g := range r.server.hub.groups {
			n += len(g.sockets)
		}
		return n == 3
	})
	want := make(map[uuid.UUID]int) // sockets
	began := time.Now()
	events := feed.fill(200)
	for i := range events {
		if !tracer.samples(events[i].UID) {
			continue
		}
		if want[events[i].UID] = 2; i%2 == 0 { // of phone number p0
			want[events[i].UID] = 3
		}
	}
	all.events(events)
	eventually(t, "all are told", func() bool { return len(tracer.told()) >= len(want) })
	time.Sleep(50 * time.Millisecond) // for one too many
	for _, w := range tracer.told() {
		if want[w.UID] != w.Sockets {
			t.Errorf("told of %+v, want %d sockets", w, want[w.UID])
		}
		delete(want, w.UID)
		if w.Read.Before(began) || w.First.Before(w.Read) || w.Type == "" {
			t.Errorf("told of %+v", w)
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

// TestTracesBound: what no socket is sent is not kept without end.
func TestTracesBound(t *testing.T) {
	tracer := &recorder{}
	ts := newTraces()
	for i := range 3 * mostTraced {
		event := &traced{tracer: tracer}
		event.count()
		ts.add(int64(i+1), event)
	}
	if len(ts.waiting) != mostTraced {
		t.Errorf("%d are kept, want %d", len(ts.waiting), mostTraced)
	}
	ts.wrote(10)
	ts.wrote(10)
	if n := len(tracer.told()); n != 10 {
		t.Errorf("told of %d, want 10", n)
	}
	ts.wrote(3 * mostTraced)
	if n := len(tracer.told()); n != mostTraced || ts.next.Load() != noTrace {
		t.Errorf("told of %d, want %d", n, mostTraced)
	}
}
