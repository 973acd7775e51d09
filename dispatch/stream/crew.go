package stream

import (
	"runtime"
	"sync"
	"syscall"
)

// crew writes to live sockets: a few goroutines for all of them, for a goroutine a
// socket and event costs more than to look what the socket needs, and thousands
// that are ready at once keep whoever takes webhooks from the processors. A worker
// never waits: a socket that cannot be written to at once, or needs anything but
// events, gets a goroutine of its own until it is idle again.
type crew struct {
	most int

	mu sync.Mutex
	// ready are the sockets to look at, first come first served from head on, each
	// in it once.
	ready   []*socket
	head    int
	workers int
}

// workerBatch is how many sockets a worker looks at before it lets others run.
const workerBatch = 16

func newCrew() *crew { return &crew{most: runtime.GOMAXPROCS(0)} }

// add has sockets looked at, whose activity is running.
func (c *crew) add(sockets ...*socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = append(c.ready, sockets...)
	c.hireLocked()
}

func (c *crew) hireLocked() {
	if c.workers < c.most && c.head < len(c.ready) {
		c.workers++
		go c.work()
	}
}

// work is a worker: it ends when nothing is ready.
func (c *crew) work() {
	var w worker
	w.call = w.writeTo
	batch := make([]*socket, 0, workerBatch)
	for {
		if batch = c.take(batch[:0]); len(batch) == 0 {
			return
		}
		for i, k := range batch {
			switch k.attend(&w) {
			case outcomeAlone:
				go k.write()
			case outcomeReady:
				c.add(k)
			}
			batch[i] = nil
		}
		runtime.Gosched()
	}
}

// take gives the next sockets; none where the worker has to end.
func (c *crew) take(batch []*socket) []*socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(workerBatch, len(c.ready)-c.head)
	if n == 0 {
		c.ready, c.head = c.ready[:0], 0
		c.workers--
		return nil
	}
	batch = append(batch, c.ready[c.head:c.head+n]...)
	clear(c.ready[c.head : c.head+n])
	if c.head += n; c.head > len(c.ready)/2 {
		rest := copy(c.ready, c.ready[c.head:])
		clear(c.ready[rest:])
		c.ready, c.head = c.ready[:rest], 0
	}
	c.hireLocked()
	return batch
}

// worker is one of the crew.
type worker struct {
	wire []byte
	n    int
	// call is writeTo, made once.
	call func(fd uintptr) bool
}

// write writes what the kernel takes at once, and tells how much.
func (w *worker) write(raw syscall.RawConn, wire []byte) int {
	w.wire, w.n = wire, 0
	_ = raw.Write(w.call) // an error shows again to whoever writes the rest
	w.wire = nil
	return w.n
}

func (w *worker) writeTo(fd uintptr) bool {
	w.n = max(writeFile(fd, w.wire), 0)
	return true
}
