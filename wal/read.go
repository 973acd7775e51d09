package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Hash is the hash of a record, by which one log is told from another. It is
// known of the records kept and of the one before them; 0 for sequence 0.
// ErrTrimmed below First-1, ErrBeyond above Head.
func (l *Log) Hash(lane Lane, seq uint64) (uint64, error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	if begin := l.lanes[lane].start(); seq+1 == begin.first {
		return begin.hash, nil
	}
	h, err := l.header(lane, seq)
	return h.hash, err
}

// header reads what the log itself needs of a record.
func (l *Log) header(lane Lane, seq uint64) (header, error) {
	if err := l.has(lane, seq); err != nil {
		return header{}, err
	}
	value, closer, err := l.db.Get(recordKey(lane, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return header{}, l.lost(lane, seq)
	}
	if err != nil {
		return header{}, fmt.Errorf("read %s record %d: %w", lane, seq, l.explain(err))
	}
	h, err := parseHeader(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return header{}, fmt.Errorf("read %s record %d: %w", lane, seq, err)
	}
	return h, nil
}

// has says whether the record is within the lane.
func (l *Log) has(lane Lane, seq uint64) error {
	if first := l.First(lane); seq < first {
		return fmt.Errorf("%w: %s record %d, the first kept is %d", ErrTrimmed, lane, seq, first)
	}
	if head := l.Head(lane); seq > head {
		return fmt.Errorf("%w: %s record %d, the last is %d", ErrBeyond, lane, seq, head)
	}
	return nil
}

// lost explains why a record that was within the lane was not found: it was
// trimmed meanwhile, or the log is damaged.
func (l *Log) lost(lane Lane, seq uint64) error {
	if err := l.has(lane, seq); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s record %d is missing", ErrCorrupt, lane, seq)
}

// Since finds the first record kept that was received at or after t, Head+1
// where there is none. Records stand in the order they were committed, which
// is that of their receipt but for the few that were taken together.
func (l *Log) Since(lane Lane, t time.Time) (uint64, error) {
	if err := l.enter(); err != nil {
		return 0, err
	}
	defer l.leave()
	return l.since(lane, t.UnixNano())
}

func (l *Log) since(lane Lane, t int64) (uint64, error) {
	for {
		first, head := l.First(lane), l.Head(lane)
		var failed error
		n := sort.Search(int(head+1-first), func(i int) bool {
			h, err := l.header(lane, first+uint64(i))
			if err != nil && failed == nil {
				failed = err
			}
			return err != nil || h.received >= t
		})
		if errors.Is(failed, ErrTrimmed) {
			continue
		}
		return first + uint64(n), failed
	}
}

// Reader reads one lane in order. It belongs to one goroutine.
type Reader struct {
	log  *Log
	lane Lane
	next uint64
	wake chan struct{} // has room for one

	arena   []byte
	records []Record
	app     string
}

// Reader starts at next, which may be beyond the head; 0 is the first record
// kept. Close must follow.
func (l *Log) Reader(lane Lane, next uint64) *Reader {
	if next == 0 {
		next = l.First(lane)
	}
	r := &Reader{log: l, lane: lane, next: next, wake: make(chan struct{}, 1)}
	state := l.lanes[lane]
	state.mu.Lock()
	defer state.mu.Unlock()
	state.readers = append(state.readers, r)
	return r
}

func (r *Reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Next waits until there is a record and returns all there are, at most
// maxRecords of them and maxBytes as they are stored, but at least one whatever
// its size. The records' bytes are valid until the following Next. Errors:
// ErrTrimmed where the next record is no longer kept, ErrClosed, ErrCorrupt,
// the context's. A log that failed still gives what was published.
func (r *Reader) Next(ctx context.Context, maxRecords, maxBytes int) ([]Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if head := r.log.Head(r.lane); head >= r.next {
			return r.read(head, max(maxRecords, 1), maxBytes)
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		case <-r.log.closing:
			return nil, ErrClosed
		}
	}
}

// read reads on from next, up to head.
func (r *Reader) read(head uint64, maxRecords, maxBytes int) (_ []Record, err error) {
	if err := r.log.enter(); err != nil {
		return nil, err
	}
	defer r.log.leave()
	if err := r.log.has(r.lane, r.next); err != nil {
		return nil, err
	}
	upper := afterLane(r.lane)
	if head < maxSequence {
		upper = recordKey(r.lane, head+1)
	}
	it, err := r.log.db.NewIter(&pebble.IterOptions{LowerBound: recordKey(r.lane, r.next), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read %s lane: %w", r.lane, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()

	r.reset(maxBytes)
	next := r.next
	for ok := it.First(); ok && len(r.records) < maxRecords; ok = it.Next() {
		if seq := binary.BigEndian.Uint64(it.Key()[1:]); seq != next {
			return nil, r.log.lost(r.lane, next)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read %s record %d: %w", r.lane, next, r.log.explain(err))
		}
		if len(r.records) > 0 && len(r.arena)+len(value) > maxBytes {
			break
		}
		if err := r.add(value, next); err != nil {
			return nil, err
		}
		next++
	}
	if len(r.records) == 0 && it.Error() == nil {
		return nil, r.log.lost(r.lane, next)
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("read %s record %d: %w", r.lane, next, r.log.explain(err))
	}
	r.next = next
	return r.records, nil
}

// reset makes the buffers empty, and gives up one that a giant left behind.
func (r *Reader) reset(maxBytes int) {
	if cap(r.arena) > 4*max(maxBytes, 64<<10) {
		r.arena = nil
	}
	r.arena = r.arena[:0]
	clear(r.records)
	r.records = r.records[:0]
}

// add copies a record into the arena. Where the arena has to grow, earlier
// records keep the old one.
func (r *Reader) add(value []byte, seq uint64) error {
	from := len(r.arena)
	r.arena = append(r.arena, value...)
	record, err := parseRecord(r.arena[from:], seq, r.app)
	if err != nil {
		return fmt.Errorf("read %s record %d: %w", r.lane, seq, err)
	}
	r.app = record.App
	r.records = append(r.records, record)
	return nil
}

// Close ends the reader. The records of the last Next stay valid.
func (r *Reader) Close() {
	state := r.log.lanes[r.lane]
	state.mu.Lock()
	defer state.mu.Unlock()
	if i := slices.Index(state.readers, r); i >= 0 {
		state.readers = slices.Delete(state.readers, i, i+1)
	}
}
