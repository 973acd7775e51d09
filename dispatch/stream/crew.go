package stream

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// crew writes to live sockets: a few goroutines for all of them, for a goroutine a
// socket and event costs more than to look what the socket needs, and thousands
// that are ready at once keep whoever takes webhooks from the processors. A worker
// never waits: a socket that cannot be written to at once, or needs anything but
// events, gets a goroutine of its own until it is idle again.
//
// It goes over the sockets in passes, and rests after each for as long as that took:
// what comes meanwhile goes out together. So the more sockets there are the later
// are their events, by hundredths of a second, and the fewer are the writes, which
// are what costs.
type crew struct {
	most int
	// enough is how many events end a rest, and enoughBytes how many bytes of them.
	enough, enoughBytes int64

	mu sync.Mutex
	// ready are the sockets of this pass, from head on those to look at; next those
	// of the next one.
	ready, next []*socket
	head        int
	// began is when the pass did; events and bytes are what came since, on the tape
	// that most came on.
	began         time.Time
	events, bytes int64
	workers       int
	// unfinished is true where a socket of this pass has more to write.
	unfinished bool
	resting    bool
	timer      *time.Timer
}

const (
	// workerBatch is how many sockets a worker looks at before it lets others run.
	workerBatch = 16
	// A rest is of these bounds: a shorter one is none.
	minRest = 200 * time.Microsecond
	maxRest = 100 * time.Millisecond
)

func newCrew(queue int, queueBytes int64) *crew {
	c := &crew{most: runtime.GOMAXPROCS(0), enough: max(int64(queue)/8, 1), enoughBytes: max(queueBytes/8, 1)}
	c.timer = time.AfterFunc(time.Hour, c.rested)
	c.timer.Stop()
	return c
}

// add has sockets looked at, whose activity is running, for so many new events of so
// many bytes.
func (c *crew) add(events, bytes int64, sockets ...*socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = append(c.next, sockets...)
	c.events += events
	c.bytes += bytes
	c.passLocked()
}

// passLocked begins a pass, if there is anything to do and none is under way.
func (c *crew) passLocked() {
	rests := c.resting && c.events < c.enough && c.bytes < c.enoughBytes
	if len(c.next) == 0 || c.workers > 0 || rests {
		return
	}
	c.ready, c.next, c.head = c.next, c.ready[:0], 0
	c.began, c.events, c.bytes = time.Now(), 0, 0
	c.resting, c.unfinished = false, false
	c.timer.Stop()
	c.hireLocked()
}

func (c *crew) hireLocked() {
	if c.workers < c.most && c.head < len(c.ready) {
		c.workers++
		go c.work()
	}
}

// work is a worker: it ends with the pass.
func (c *crew) work() {
	var w worker
	w.call = w.writeTo
	batch := make([]*socket, 0, workerBatch)
	for {
		if batch = c.take(batch[:0]); len(batch) == 0 {
			return
		}
		w.timed = false
		for i, k := range batch {
			switch k.attend(&w) {
			case outcomeAlone:
				go k.write()
			case outcomeNews:
				c.again(k, false)
			case outcomeMore:
				c.again(k, true)
			}
			batch[i] = nil
		}
		runtime.Gosched()
	}
}

// again has a socket looked at once more, in the next pass; that comes at once where
// it has more to write than one write takes.
func (c *crew) again(k *socket, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = append(c.next, k)
	c.unfinished = c.unfinished || more
}

// take gives the next sockets; none where the worker has to end.
func (c *crew) take(batch []*socket) []*socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(workerBatch, len(c.ready)-c.head)
	batch = append(batch, c.ready[c.head:c.head+n]...)
	clear(c.ready[c.head : c.head+n])
	c.head += n
	if n > 0 {
		c.hireLocked()
		return batch
	}
	if c.workers--; c.workers == 0 {
		c.restLocked()
		c.passLocked()
	}
	return nil
}

// restLocked ends a pass.
func (c *crew) restLocked() {
	c.ready, c.head = c.ready[:0], 0
	if c.unfinished {
		return
	}
	if rest := min(time.Since(c.began), maxRest); rest >= minRest {
		c.resting = true
		c.timer.Reset(rest)
	}
}

func (c *crew) rested() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resting = false
	c.passLocked()
}

// worker is one of the crew.
type worker struct {
	wire []byte
	n    int
	// timed is true where a write of this batch was measured.
	timed bool
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
