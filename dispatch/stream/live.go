package stream

import (
	"sync"
	"time"
)

// batchBytes is about how much a socket that catches up writes at once.
const batchBytes = 32 << 10

// buffers are what it gathers that in.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, batchBytes)
	return &b
}}

// begin puts the socket where it starts: live from now on, or, where it asked
// for a place, caught up from there.
func (k *socket) begin() *ending {
	k.server.hub.enter(k)
	if k.request.since != "" {
		if end := k.resume(); end != nil {
			return end
		}
		return k.catchUp()
	}
	for {
		if end := k.waitReady(); end != nil {
			return end
		}
		// Not ok: the hub lost its place just then.
		if at, ok := k.server.hub.register(k); ok {
			k.cursor = &cursor{places: at.target, watermark: at.complete}
			return k.position()
		}
	}
}

// waitReady waits until the hub knows where it is, and pings meanwhile.
func (k *socket) waitReady() *ending {
	for {
		if end := k.keepUp(); end != nil {
			return end
		}
		if k.await(k.server.hub.whenReady()) {
			return nil
		}
	}
}

// keepUp does what is due beside events.
func (k *socket) keepUp() *ending {
	if end := k.check(); end != nil {
		return end
	}
	return k.flush(k.control(nil), k.sent)
}

// position writes a stream:position of the socket's own.
func (k *socket) position() *ending {
	k.positionAt = time.Now().Add(k.server.cfg.PositionInterval)
	m := k.cursor.position()
	return k.flush(appendPosition(k.control(nil), m), m)
}

// live writes what is on the tape. It returns true where there is nothing left and
// the writer is parked, and neither that nor an ending where the hub no longer
// feeds the socket, which then has to catch up.
func (k *socket) live() (idle bool, end *ending) {
	for {
		k.looks()
		if end := k.check(); end != nil {
			return false, end
		}
		r, waiting, state := k.queue.take()
		if state != flowing {
			return false, k.fallBack(state)
		}
		// Under load a queue is hardly ever seen empty: low is level enough.
		if waiting <= k.queue.maxFrames/4 {
			k.levelBy = time.Time{}
		}
		if end := k.writeDue(); end != nil {
			return false, end
		}
		if len(r.notes) > 0 {
			k.server.metrics.queue.Observe(float64(waiting))
			if end := k.writeRun(r); end != nil {
				return false, end
			}
			continue
		}
		if k.park() {
			return true, nil
		}
	}
}

// writeDue writes what is due beside events.
func (k *socket) writeDue() *ending {
	b := k.control(nil)
	now := time.Now()
	if now.Before(k.positionAt) {
		return k.flush(b, k.sent)
	}
	// A socket that was not sent all there is for it gets ids with that.
	k.positionAt = now.Add(k.server.cfg.PositionInterval)
	complete, ok := k.server.hub.positionOf(k)
	if !ok {
		return k.flush(b, k.sent)
	}
	k.cursor.watermark = later(k.cursor.watermark, complete)
	m := k.cursor.position()
	return k.flush(appendPosition(b, m), m)
}

// fallBack decides what becomes of a socket that the hub stopped to feed: it may
// catch up from the store, but after an overrun not for long.
func (k *socket) fallBack(state queueState) *ending {
	if state == restarted {
		return nil
	}
	if k.server.cfg.BurstGrace == 0 {
		return k.tooSlow()
	}
	if k.levelBy.IsZero() {
		k.levelBy = time.Now().Add(k.server.cfg.BurstGrace)
	}
	return nil
}

// writeRun writes frames of the tape, all at once but for those of events that the
// socket had before it went live.
func (k *socket) writeRun(r run) *ending {
	defer k.queue.written(r)
	from, last := r.start, k.sent
	begin := r.start
	for i := range r.notes {
		n := &r.notes[i]
		if k.pass(n.mark) {
			last = n.mark
			begin = n.end
			continue
		}
		if end := k.flush(r.wire[from-r.start:begin-r.start], last); end != nil {
			return end
		}
		from, begin = n.end, n.end
	}
	return k.flush(r.wire[from-r.start:begin-r.start], last)
}

// pass notes an event in the cursor; false where the socket had it before it went
// live.
func (k *socket) pass(m mark) bool {
	c := k.cursor
	c.watermark = later(c.watermark, m.watermark)
	if m.place.Compare(c.places[m.partition]) <= 0 {
		return false
	}
	c.places[m.partition] = m.place
	k.unwritten++
	return true
}
