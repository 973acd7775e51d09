package wal

import (
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// groupBytes bounds a batch; a record that is larger has one to itself.
	groupBytes = 4 << 20
	// requestOverhead stands for what a request adds to a batch beside its record.
	requestOverhead = 64
)

// committer is the only one who writes: it makes one batch of all requests that
// wait, and answers them after one sync.
type committer struct {
	log   *Log
	batch *pebble.Batch
	done  chan struct{}
	// encoding is held while the bytes of records are copied, and nothing else.
	encoding sync.Mutex
	// buried holds the dead letters in the batch by key, with their sizes.
	buried map[string]int
	// last is how long the last commit took.
	last time.Duration
}

func startCommitter(l *Log) *committer {
	c := &committer{
		log:    l,
		batch:  l.db.NewBatchWithSize(groupBytes/8, pebble.WithMaxRetainedSizeBytes(2*groupBytes)),
		done:   make(chan struct{}),
		buried: map[string]int{},
	}
	go c.run()
	return c
}

// run ends when the queue was closed and is empty. After a failure inside
// Pebble it may never end.
func (c *committer) run() {
	defer close(c.done)
	var requests []*request
	for {
		requests = c.log.queue.take(requests[:0])
		if len(requests) == 0 {
			return
		}
		for rest := requests; len(rest) > 0; {
			n := groupLength(rest)
			c.commit(rest[:n])
			rest = rest[n:]
		}
	}
}

// groupLength is how many of the requests make one batch, at least one.
func groupLength(requests []*request) int {
	bytes := 0
	for i, q := range requests {
		bytes += requestOverhead + recordSize(&q.record)
		if i > 0 && bytes > groupBytes {
			return i
		}
	}
	return len(requests)
}

// commit writes a group, publishes it and answers it.
func (c *committer) commit(group []*request) {
	began := time.Now()
	c.log.committing.Store(began.UnixNano())
	defer c.log.committing.Store(0)
	records, err := c.encode(group)
	if err == nil {
		err = c.sync()
	}
	if err != nil {
		c.log.fail(err)
		return
	}
	took := time.Since(began)
	c.log.commitTime.Store(int64(min(took, c.last)))
	c.last = took
	c.log.metrics.commitSeconds.Observe(took.Seconds())
	if records > 0 {
		c.log.metrics.commitRecords.Observe(float64(records))
	}
	for _, state := range c.log.lanes {
		state.publish()
	}
	for _, q := range group {
		q.answer(q.err)
	}
}

// encode fills the batch and returns how many records are in it.
func (c *committer) encode(group []*request) (records int, err error) {
	c.batch.Reset()
	clear(c.buried)
	for _, q := range group {
		if q.write != nil {
			q.err = q.write(c.batch)
		}
	}
	if records, err = c.encodeRecords(group); err != nil {
		return 0, err
	}
	c.log.space.spend(int64(c.batch.Len()))
	return records, nil
}

// encodeRecords copies the records, unless the log has failed: then their
// callers may be gone, and their bytes in other use.
func (c *committer) encodeRecords(group []*request) (records int, err error) {
	c.encoding.Lock()
	defer c.encoding.Unlock()
	if c.log.hasFailed() {
		return 0, c.log.failure
	}
	for _, q := range group {
		if q.write != nil {
			continue
		}
		if err := c.encodeRecord(q); err != nil {
			return 0, err
		}
		records++
	}
	return records, nil
}

func (c *committer) encodeRecord(q *request) error {
	state := c.log.lanes[q.lane]
	size := recordSize(&q.record)
	op := c.batch.SetDeferred(recordKeySize, size)
	appendRecordKey(op.Key[:0], q.lane, state.last+1)
	putRecord(op.Value, &q.record, state.lastEnd)
	if err := op.Finish(); err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	state.last++
	state.lastEnd += recordKeySize + uint64(size)
	if state.oldest.Load() == 0 && q.record.Received.UnixNano() != 0 {
		state.oldest.Store(q.record.Received.UnixNano())
	}
	return nil
}

// sync applies the batch and waits for its sync. Only SyncWait tells the truth:
// Pebble's Commit returns nil after a failed sync. Where the disk fails sync
// does not come back, see haltFS, and Append answers without it.
func (c *committer) sync() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("commit: %v", r)
		}
	}()
	if c.batch.Empty() {
		return nil
	}
	if err := c.log.db.ApplyNoSyncWait(c.batch, pebble.Sync); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := c.batch.SyncWait(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
