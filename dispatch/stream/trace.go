package stream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Tracer is what traces events on their way to sockets. It must not wait for
// anything.
type Tracer interface {
	// Samples reports whether an event is to be traced.
	Samples(uid uuid.UUID) bool
	// Wrote is told once of each such event that a live socket was sent.
	Wrote(Written)
}

// Written is an event that a live socket was sent.
type Written struct {
	UID       uuid.UUID
	Type      string
	Partition int
	// Read is when it had been read from the feed, First when the first socket it is
	// for had been written to.
	Read, First time.Time
	// Sockets is how many live sockets it is for.
	Sockets int
}

// traced is an event that is traced. Tapes and sockets work at the same time as the
// hub: told once the hub has counted and a socket was written to.
type traced struct {
	tracer Tracer
	// sockets is the hub's own until it has counted.
	sockets int

	mu      sync.Mutex
	written Written
	counted bool
}

// wrote notes that a socket was written to.
func (t *traced) wrote(now time.Time) {
	t.mu.Lock()
	first := t.written.First.IsZero()
	if first {
		t.written.First = now
	}
	tell, written := first && t.counted, t.written
	t.mu.Unlock()
	if tell {
		t.tracer.Wrote(written)
	}
}

// count notes that sockets is how many it is for.
func (t *traced) count() {
	t.mu.Lock()
	t.written.Sockets, t.counted = t.sockets, true
	tell, written := !t.written.First.IsZero(), t.written
	t.mu.Unlock()
	if tell {
		t.tracer.Wrote(written)
	}
}

// mostTraced bounds the traced frames of a tape that no socket was sent yet; those
// beyond are not traced on that tape.
const mostTraced = 1024

// traces are the traced frames of a tape that none of its sockets was sent yet.
type traces struct {
	// next is the number of the first of them, counted as the tape's frames are; the
	// largest number where there is none. It spares the sockets the lock.
	next atomic.Int64

	mu      sync.Mutex
	waiting []waitingTrace
}

type waitingTrace struct {
	number int64
	traced *traced
}

const noTrace = math.MaxInt64

func newTraces() *traces {
	t := &traces{}
	t.next.Store(noTrace)
	return t
}

// add has the frame traced that will be the tape's so manieth.
func (t *traces) add(number int64, event *traced) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == mostTraced {
		return
	}
	t.waiting = append(t.waiting, waitingTrace{number, event})
	t.next.Store(t.waiting[0].number)
}

// wrote notes that a socket has been sent the tape's frames up to a number.
func (t *traces) wrote(through int64) {
	if through < t.next.Load() {
		return
	}
	now := time.Now()
	t.mu.Lock()
	n := 0
	for n < len(t.waiting) && t.waiting[n].number <= through {
		n++
	}
	done := t.waiting[:n:n]
	t.waiting = t.waiting[n:]
	next := int64(noTrace)
	if len(t.waiting) > 0 {
		next = t.waiting[0].number
	} else {
		t.waiting = nil
	}
	t.next.Store(next)
	t.mu.Unlock()
	for i := range done {
		done[i].traced.wrote(now)
	}
}

// trace gives, by frame, the events that are to be traced; nil for none.
func (h *hub) trace(frames []frame) (events []*traced) {
	for i := range frames {
		f := &frames[i]
		if !h.tracer.Samples(f.entry.UID) {
			continue
		}
		if events == nil {
			events = make([]*traced, len(frames))
		}
		events[i] = &traced{tracer: h.tracer, written: Written{
			UID: f.entry.UID, Type: f.entry.Type, Partition: f.mark.partition, Read: h.read,
		}}
	}
	return events
}
