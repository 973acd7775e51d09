package wal

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// queueLimit bounds the records that wait for the committer. Their bytes are
// their callers', and bounded there. Other writes are few, and never refused for
// want of room: dispatching and trimming have to go on.
const queueLimit = 16384

// maxGather bounds how often the committer stands back for others, so that an
// endless stream of them cannot hold it up.
const maxGather = 32

// The reasons an Append is refused for, as the metric has them.
const (
	refusedFull   = "full"
	refusedDisk   = "disk"
	refusedQueue  = "queue"
	refusedClosed = "closed"
	refusedFailed = "failed"
)

var refusals = [...]string{refusedFull, refusedDisk, refusedQueue, refusedClosed, refusedFailed}

// Made once: a log that refuses is busy enough.
var (
	errFullBytes = fmt.Errorf("%w: records that are not dispatched yet reach log.max_bytes", ErrFull)
	errFullDisk  = fmt.Errorf("%w: free disk space is below log.min_free", ErrFull)
	errFullQueue = fmt.Errorf("%w: %d requests wait for the disk", ErrFull, queueLimit)
)

// request is what the committer is asked for: a record, or any other write.
type request struct {
	lane   Lane
	record Record
	// write is nil for a record. It runs in the committer, perhaps after its
	// caller has gone, and may check before it writes, but not fail after.
	write func(*pebble.Batch) error
	err   error
	// done has room for the one answer, so that whoever gives it never waits.
	done     chan error
	answered atomic.Bool
}

func newRequest() *request { return &request{done: make(chan error, 1)} }

// answer gives the answer, unless there was one.
func (q *request) answer(err error) {
	if q.answered.CompareAndSwap(false, true) {
		q.done <- err
	}
}

// reset makes an answered request as new.
func (q *request) reset() {
	q.lane, q.record, q.write, q.err = 0, Record{}, nil, nil
	q.answered.Store(false)
}

// Append takes a record into a lane and returns nil only when it survives power
// loss. It waits for one sync, or two. An error other than ErrFailed means that
// nothing was kept; after ErrFailed the record may or may not be on disk. No
// byte of r is used after Append returned. Errors: ErrFull, ErrClosed,
// ErrFailed, ErrTooLarge.
func (l *Log) Append(lane Lane, r Record) error {
	if err := checkRecord(&r); err != nil {
		return err
	}
	reason, err := l.admit()
	if err == nil {
		q := l.requests.Get().(*request)
		q.lane, q.record = lane, r
		reason, err = l.submit(q)
	}
	if err != nil {
		l.metrics.refuse(reason)
	}
	return err
}

// CommitTime is how long the last commit took, or the one before where that was
// quicker: encoding, and one sync. 0 before there were two.
func (l *Log) CommitTime() time.Duration { return time.Duration(l.commitTime.Load()) }

// admit says whether there is room, and if not why.
func (l *Log) admit() (reason string, err error) {
	switch {
	case l.readOnly:
		return refusedClosed, ErrReadOnly
	case l.hasFailed():
		return refusedFailed, l.failure
	case l.space.short():
		return refusedDisk, errFullDisk
	case l.unreleasedBytes() >= l.config.MaxBytes:
		return refusedFull, errFullBytes
	}
	return "", nil
}

// do has the committer run write in its next batch and waits for the sync.
func (l *Log) do(write func(*pebble.Batch) error) error {
	if l.readOnly {
		return ErrReadOnly
	}
	q := l.requests.Get().(*request)
	q.write = write
	_, err := l.submit(q)
	return err
}

// submit hands q to the committer and waits for its answer. It returns q to
// the pool, except where the committer may still hold it.
func (l *Log) submit(q *request) (reason string, err error) {
	if reason, err = l.queue.put(q); err == nil {
		if err = <-q.done; errors.Is(err, ErrFailed) {
			return refusedFailed, l.abandoned()
		}
	}
	q.reset()
	l.requests.Put(q)
	if err != nil && reason == "" {
		reason = refusedFailed
	}
	return reason, err
}

// abandoned waits until the committer no longer copies what was asked of it,
// which it does not begin to after a failure.
func (l *Log) abandoned() error {
	l.committer.encoding.Lock()
	defer l.committer.encoding.Unlock()
	return l.failure
}

// queue is where requests wait for the committer, in order.
type queue struct {
	mu      sync.Mutex
	waiting []*request
	// taken are those that the committer has, answered or not.
	taken  []*request
	closed bool
	// failure is set once the log has failed.
	failure error
	// wake has room for one: it is sent to when waiting is no longer empty.
	wake chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(r *request) (reason string, err error) {
	q.mu.Lock()
	n := len(q.waiting)
	switch {
	case q.failure != nil:
		reason, err = refusedFailed, q.failure
	case q.closed:
		reason, err = refusedClosed, ErrClosed
	case r.write == nil && n >= queueLimit:
		reason, err = refusedQueue, errFullQueue
	default:
		q.waiting = append(q.waiting, r)
	}
	q.mu.Unlock()
	if n == 0 && err == nil {
		q.signal()
	}
	return reason, err
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for requests, gathers more, and exchanges them for an empty slice.
// None means that the queue was closed and is empty.
func (q *queue) take(empty []*request) []*request {
	for {
		q.gather()
		q.mu.Lock()
		if len(q.waiting) > 0 || q.closed {
			q.taken, q.waiting = q.waiting, empty
			taken := q.taken
			q.mu.Unlock()
			return taken
		}
		q.mu.Unlock()
		<-q.wake
	}
}

// gather lets goroutines that are ready to run go first, as long as that brings
// more requests: those that are about to append then share the next sync. It
// costs nothing where there are none.
func (q *queue) gather() {
	n := q.len()
	for i := 0; n > 0 && i < maxGather; i++ {
		runtime.Gosched()
		grown := q.len()
		if grown == n {
			return
		}
		n = grown
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// fail answers all requests, those that the committer has included: it may never
// come back.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure = err
	for _, r := range q.taken {
		r.answer(err)
	}
	for _, r := range q.waiting {
		r.answer(err)
	}
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// close refuses further requests; those that wait are still taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
