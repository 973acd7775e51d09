package stream

import (
	"sync"
	"sync/atomic"
)

// queue is how far one live socket has read the tape of its group: what stands
// behind that is what it has yet to send, bounded by frames and bytes. What is
// being written still counts.
type queue struct {
	maxFrames, maxBytes int64

	mu    sync.Mutex
	tape  *tape
	state queueState
	// at is the chunk to read on in, read how many of its frames were taken. at is
	// nil where the queue does not flow: it would keep all later chunks.
	at   *chunk
	read int

	// frames and bytes are how much of the tape is written or was before the
	// socket came.
	frames, bytes atomic.Int64
}

// queueState says whether the hub still feeds the queue.
type queueState uint8

const (
	// flowing: every event since the socket was registered is or was in the queue.
	flowing queueState = iota
	// overrun: it was full; what came after is missing.
	overrun
	// restarted: the hub lost its own place in the feed.
	restarted
)

// begin lets the queue flow from the end of a tape.
func (q *queue) begin(t *tape) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tape, q.state = t, flowing
	q.at, q.read = t.tail, int(t.tail.published.Load())
	q.frames.Store(t.frames.Load())
	q.bytes.Store(t.bytes.Load())
}

// overruns reports whether the queue is too long since frames and bytes were added
// to its tape. A single batch is never too long, else one above the bounds could
// never pass.
func (q *queue) overruns(t *tape, frames, bytes int64) bool {
	waiting := t.frames.Load() - q.frames.Load()
	if waiting <= frames {
		return false
	}
	return waiting > q.maxFrames || t.bytes.Load()-q.bytes.Load() > q.maxBytes
}

// stop ends the feeding in the given state.
func (q *queue) stop(state queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state, q.at = state, nil
}

// take gives what is next, all that is there of one chunk. waiting is how many
// frames were in the queue.
func (q *queue) take() (r run, waiting int64, state queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != flowing {
		return run{}, 0, q.state
	}
	for {
		next := q.at.next.Load() // before after: behind it nothing is published here
		if r = q.at.after(q.read); len(r.notes) > 0 || next == nil {
			break
		}
		q.at, q.read = next, 0
	}
	q.read += len(r.notes)
	return r, q.tape.frames.Load() - q.frames.Load(), flowing
}

// written makes room for what was taken and is now sent. The socket's writer calls
// it, who alone has the queue begin on another tape.
func (q *queue) written(r run) {
	through := q.frames.Add(int64(len(r.notes)))
	q.bytes.Add(int64(len(r.wire)))
	if q.tape.traces != nil {
		q.tape.traces.wrote(through)
	}
}

// drained reports whether all that is on the tape was written.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state == flowing && q.tape.frames.Load() == q.frames.Load()
}

// flows reports whether nothing is missing from the queue.
func (q *queue) flows() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state == flowing
}
