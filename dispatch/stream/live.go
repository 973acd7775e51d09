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
		if end := k.writeRest(); end != nil {
			return false, end
		}
		r, _, state := k.take()
		if state != flowing {
			return false, k.fallBack(state)
		}
		if end := k.writeDue(); end != nil {
			return false, end
		}
		if len(r.notes) > 0 {
			wire, last := k.pick(r)
			k.rest = rest{run: r, wire: wire, last: last}
			continue
		}
		k.dropDeadline()
		if k.park() {
			return true, nil
		}
	}
}

// What is to be done with a socket that a worker attended to.
type outcome uint8

const (
	// outcomeParked: wake brings it back.
	outcomeParked outcome = iota
	// outcomeNews: something came meanwhile.
	outcomeNews
	// outcomeMore: there is more to write than was written at once.
	outcomeMore
	// outcomeAlone: it needs a goroutine of its own.
	outcomeAlone
)

// attend is what a worker does: it writes once, if there is something to write and
// nothing else to do, and never waits.
func (k *socket) attend(w *worker) outcome {
	k.looks()
	if k.raw == nil || len(k.rest.run.notes) > 0 || k.isDue() {
		return outcomeAlone
	}
	r, waiting, state := k.take()
	if state != flowing {
		return outcomeAlone
	}
	if len(r.notes) > 0 {
		wire, last := k.pick(r)
		n := 0
		if len(wire) > 0 {
			n = w.write(k.raw, wire)
			k.server.metrics.bytes.Add(float64(n))
		}
		if n < len(wire) {
			k.rest = rest{run: r, wire: wire[n:], last: last}
			return outcomeAlone
		}
		if !w.timed {
			w.timed = true
			k.measure(r)
		}
		k.wrote(r, last)
	}
	switch {
	case waiting > int64(len(r.notes)):
		return outcomeMore
	case !k.park():
		return outcomeNews
	}
	return outcomeParked
}

// take gives what is next on the tape.
func (k *socket) take() (r run, waiting int64, state queueState) {
	r, waiting, state = k.queue.take()
	// Under load a queue is hardly ever seen empty: low is level enough.
	if state == flowing && waiting <= k.queue.maxFrames/4 {
		k.levelBy = time.Time{}
	}
	if waiting > 0 {
		k.server.metrics.queue.Observe(float64(waiting))
	}
	return r, waiting, state
}

// isDue reports whether there is anything to do but to write events.
func (k *socket) isDue() bool {
	now := time.Now()
	if !now.Before(k.pingAt) || !now.Before(k.positionAt) || k.check() != nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.mail.replies) > 0
}

// rest is a run that was taken and is not written, or not all of it.
type rest struct {
	run  run
	wire []byte
	last mark
}

func (k *socket) writeRest() *ending {
	r := k.rest
	if len(r.run.notes) == 0 {
		return nil
	}
	if end := k.flush(r.wire, r.last); end != nil {
		return end
	}
	k.rest = rest{}
	k.measure(r.run)
	k.wrote(r.run, r.last)
	return nil
}

// measure notes how long the oldest event of a run took to be written.
func (k *socket) measure(r run) {
	k.server.metrics.delay.Observe(time.Since(time.Unix(0, r.notes[0].at)).Seconds())
}

// wrote notes that a run is written.
func (k *socket) wrote(r run, last mark) {
	k.sent = last
	k.countSent()
	k.queue.written(r)
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

// pick gives what of a run is to be written: all of it, but for events that the
// socket had before it went live. last is the id of the last event in it.
func (k *socket) pick(r run) (wire []byte, last mark) {
	last = k.sent
	whole, begin := true, 0
	for i := range r.notes {
		end := r.notes[i].end - r.start
		switch passes := k.pass(r.notes[i].mark); {
		case passes:
			last = r.notes[i].mark
			if !whole {
				wire = append(wire, r.wire[begin:end]...)
			}
		case whole:
			whole = false
			wire = append(wire, r.wire[:begin]...)
		}
		begin = end
	}
	if whole {
		return r.wire, last
	}
	return wire, last
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
