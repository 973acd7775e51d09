package stream

import (
	"sync"
	"time"
)

// buffers are what frames are gathered in, so that many go out in one write.
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
	m := k.cursor.position()
	return k.flush(appendPosition(k.control(nil), m), m)
}

// live writes what the hub puts into the queue. It returns nil where the hub
// stopped to do so: the socket has to catch up.
func (k *socket) live() *ending {
	for {
		if end := k.check(); end != nil {
			return end
		}
		batches, waiting, state := k.queue.take()
		if state != flowing {
			return k.fallBack(state)
		}
		// Under load a queue is hardly ever seen empty: low is level enough.
		if waiting <= k.server.cfg.Queue/4 {
			k.levelBy = time.Time{}
		}
		if len(batches) == 0 {
			if end := k.keepUp(); end != nil {
				return end
			}
			k.idle()
			continue
		}
		k.server.metrics.queue.Observe(float64(waiting))
		if end := k.writeBatches(batches); end != nil {
			return end
		}
	}
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

// writeBatches writes frames, gathered into writes of about batchBytes.
func (k *socket) writeBatches(batches [][]*frame) *ending {
	pooled := buffers.Get().(*[]byte)
	defer func() { buffers.Put(pooled) }()
	g := gather{socket: k, buffer: (*pooled)[:0], last: k.sent}
	for _, batch := range batches {
		for _, f := range batch {
			if end := g.add(f); end != nil {
				return end
			}
		}
	}
	return g.flush()
}

// gather collects frames into one write.
type gather struct {
	socket *socket
	buffer []byte
	last   mark
	// frames and bytes are what the queue still counts.
	frames int
	bytes  int64
}

func (g *gather) add(f *frame) *ending {
	k := g.socket
	big := len(f.wire) > bigFrame
	if big || len(g.buffer)+len(f.wire) > batchBytes {
		if end := g.flush(); end != nil {
			return end
		}
	}
	g.frames++
	g.bytes += int64(len(f.wire))
	if !k.pass(f) {
		return nil
	}
	g.last = f.mark
	if !big {
		g.buffer = append(g.buffer, f.wire...)
		return nil
	}
	return g.write(f.wire)
}

func (g *gather) flush() *ending {
	if end := g.socket.check(); end != nil {
		return end
	}
	g.buffer = g.socket.control(g.buffer)
	end := g.write(g.buffer)
	g.buffer = g.buffer[:0]
	return end
}

func (g *gather) write(b []byte) *ending {
	end := g.socket.flush(b, g.last)
	g.socket.queue.written(g.frames, g.bytes)
	g.frames, g.bytes = 0, 0
	return end
}

// pass notes a frame in the cursor; false where the socket had the event before
// it went live.
func (k *socket) pass(f *frame) bool {
	c := k.cursor
	if f.entry != nil {
		if f.mark.place.Compare(c.places[f.mark.partition]) <= 0 {
			return false
		}
		c.places[f.mark.partition] = f.mark.place
		k.unwritten++
	}
	c.watermark = later(c.watermark, f.mark.watermark)
	return true
}
