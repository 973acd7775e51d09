package stream

import (
	"errors"
	"time"

	"spillway/dispatch/store"
)

const (
	// turnTime is how long a socket reads from the store while others wait.
	turnTime = 250 * time.Millisecond
	// checkEvery is after how many filtered events a socket looks up.
	checkEvery = 512
)

// resume sets the cursor to the place the request asked for.
func (k *socket) resume() *ending {
	if end := k.waitReady(); end != nil {
		return end
	}
	bounds, limit, err := k.server.feed.Bounds(k.server.ctx)
	if err != nil {
		return k.feedFailed(err)
	}
	// The hub's own ids go up to where the feed is complete.
	limit = later(limit, k.server.hub.completeTo())
	c, err := resume(k.request.since, bounds, limit)
	if err != nil {
		return &ending{code: CodeSince, reason: oldestID(bounds)}
	}
	c.wentBack(k.server.hub.lostAfter(c.watermark))
	k.cursor = c
	if m, err := parseMark(k.request.since); err == nil {
		k.sent = m
	}
	return nil
}

// catchUp reads from the store what the socket has not had, at the pace of its
// reader, and leaves it registered with the hub without a gap or a repeat.
//
// It goes first to where the hub is, unregistered, so that a long way does not
// fill the queue; then it registers, which fixes the last event that is the
// store's to bring, reads up to that, and the rest is in the queue.
func (k *socket) catchUp() *ending {
	k.server.metrics.catching.Inc()
	defer k.server.metrics.catching.Dec()
	for registered := false; ; {
		if end := k.waitReady(); end != nil {
			return end
		}
		look := k.server.hub.level
		if registered {
			look = k.server.hub.register
		}
		at, ok := look(k)
		if !ok {
			continue
		}
		k.cursor.wentBack(at.back)
		if end := k.readUpTo(at.target, at.complete); end != nil {
			return end
		}
		if registered && k.queue.flows() {
			return k.position()
		}
		// An overrun queue means one more round; it is the way that is long, not
		// the reader that is slow.
		registered = !registered
	}
}

// readUpTo takes turns until the socket has all events up to target, which it
// lowers where the store ends before it.
func (k *socket) readUpTo(target []store.Place, complete store.Place) *ending {
	for {
		finished, end := k.turn(target, complete)
		if end != nil {
			return end
		}
		if finished {
			k.cursor.reach(target, complete)
			return nil
		}
	}
}

// turn reads and writes until the target is reached, or its time is over and
// others wait. Only so many sockets have a turn at once: that bounds the memory.
func (k *socket) turn(target []store.Place, complete store.Place) (finished bool, end *ending) {
	if end := k.acquire(); end != nil {
		return false, end
	}
	held := &lease{turns: k.server.turns}
	defer held.end()
	m, err := newMerge(k.server.ctx, k.server.feed, k.cursor, target, k.server.cfg.CatchUpBytes)
	if err != nil {
		return false, k.feedFailed(err)
	}
	held.drop = func() { m.sources = nil }
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	out := outlet{socket: k, lease: held, buffer: (*pooled)[:0], last: k.sent}
	began := time.Now()
	for n := 1; ; n++ {
		partition, entry, err := m.next(k.server.ctx)
		if err != nil {
			return false, k.feedFailed(err)
		}
		if entry == nil {
			return true, out.flush()
		}
		k.cursor.advance(partition, entry.Place, complete)
		out.add(partition, entry)
		if len(out.buffer) < batchBytes && n%checkEvery != 0 {
			continue
		}
		if end := out.flush(); end != nil {
			return false, end
		}
		if held.ended() || time.Since(began) > turnTime && k.server.turns.wanted() {
			return false, nil
		}
	}
}

// acquire waits for a turn, and pings meanwhile.
func (k *socket) acquire() *ending {
	if k.server.turns.try() {
		return nil
	}
	k.server.turns.waiting.Add(1)
	defer k.server.turns.waiting.Add(-1)
	for {
		if end := k.keepUp(); end != nil {
			return end
		}
		if k.await(k.server.turns.free) {
			return nil
		}
	}
}

// feedFailed is the ending where the store cannot go on: 4009 where it no longer
// holds what the socket needs.
func (k *socket) feedFailed(err error) *ending {
	if end := k.check(); end != nil {
		return end
	}
	if !errors.Is(err, errGap) && !errors.Is(err, errMark) {
		k.server.logger.Warn("the store cannot be read for a socket: it is closed and may come again", "error", err)
		return &ending{code: tryLater, reason: "store not available"}
	}
	bounds, _, err := k.server.feed.Bounds(k.server.ctx)
	if err != nil {
		return &ending{code: tryLater, reason: "store not available"}
	}
	return &ending{code: CodeSince, reason: oldestID(bounds)}
}

// outlet gathers what a catch-up sends.
type outlet struct {
	socket *socket
	lease  *lease
	buffer []byte
	last   mark
	facts  facts
}

func (o *outlet) add(partition int, entry *store.Entry) {
	k := o.socket
	o.facts = facts{}
	if !k.filter.matches(entry.Type, entry.Payload, &o.facts) {
		return
	}
	o.last = k.cursor.mark(partition)
	begin := len(o.buffer)
	o.buffer = appendEvent(o.buffer, o.last, entry)
	if k.request.deflate && len(o.buffer)-begin >= deflateFrom {
		o.buffer = append(o.buffer[:begin], deflated(o.buffer[begin:])...)
	}
	k.unwritten++
}

func (o *outlet) flush() *ending {
	k := o.socket
	if end := k.check(); end != nil {
		return end
	}
	if now := time.Now(); !now.Before(k.positionAt) {
		k.positionAt = now.Add(k.server.cfg.PositionInterval)
		o.last = k.cursor.position()
		o.buffer = appendPosition(o.buffer, o.last)
	}
	o.buffer = k.control(o.buffer)
	stall := &stall{outlet: o, bytes: int64(len(o.buffer))}
	timer := time.AfterFunc(turnTime, stall.begin)
	end := k.flush(o.buffer, o.last)
	timer.Stop()
	stall.end()
	o.buffer = o.buffer[:0]
	return end
}
