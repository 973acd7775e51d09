package stream

import "sync"

// queue holds what one live socket has yet to send, bounded by frames and bytes.
// The hub puts in and never waits; the socket's writer takes out. What is being
// written still counts.
type queue struct {
	maxFrames int
	maxBytes  int64
	// wake has room for one signal: there may be something to do.
	wake chan struct{}

	mu sync.Mutex
	// batches are shared with other queues and must not be changed.
	batches [][]*frame
	frames  int
	bytes   int64
	state   queueState
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

func newQueue(maxFrames int, maxBytes int64) *queue {
	return &queue{maxFrames: maxFrames, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// push adds a batch of that many bytes, all of it or nothing. False means that
// the queue is overrun and gets no more. An empty queue takes any batch, else a
// single event above the bounds could never pass.
func (q *queue) push(batch []*frame, bytes int64) bool {
	q.mu.Lock()
	full := q.frames > 0 && (q.frames+len(batch) > q.maxFrames || q.bytes+bytes > q.maxBytes)
	if full {
		q.state = overrun
		q.batches = nil
	} else {
		q.batches = append(q.batches, batch)
		q.frames += len(batch)
		q.bytes += bytes
	}
	q.mu.Unlock()
	q.signal()
	return !full
}

// offer adds a frame if there is room; it never overruns.
func (q *queue) offer(f []*frame, bytes int64) {
	q.mu.Lock()
	fits := q.frames+len(f) <= q.maxFrames && q.bytes+bytes <= q.maxBytes
	if fits {
		q.batches = append(q.batches, f)
		q.frames += len(f)
		q.bytes += bytes
	}
	q.mu.Unlock()
	if fits {
		q.signal()
	}
}

// stop ends the feeding in the given state.
func (q *queue) stop(state queueState) {
	q.mu.Lock()
	q.state = state
	q.batches = nil
	q.mu.Unlock()
	q.signal()
}

// take empties the queue. waiting is how many frames were in it.
func (q *queue) take() (batches [][]*frame, waiting int, state queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batches, q.batches = q.batches, nil
	return batches, q.frames, q.state
}

// written makes room for what was taken and is now sent.
func (q *queue) written(frames int, bytes int64) {
	q.mu.Lock()
	q.frames -= frames
	q.bytes -= bytes
	q.mu.Unlock()
}

// reset empties the queue and lets it flow again. The socket must not be
// registered with the hub.
func (q *queue) reset() {
	q.mu.Lock()
	q.batches, q.frames, q.bytes, q.state = nil, 0, 0, flowing
	q.mu.Unlock()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// flows reports whether nothing is missing from the queue.
func (q *queue) flows() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state == flowing
}
