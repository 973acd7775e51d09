package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// Lane is one of the two sequences of a log.
type Lane uint8

// Bulk is for webhooks that may wait, Express for all else.
const (
	Express Lane = iota
	Bulk
)

// Lanes are all lanes.
var Lanes = [...]Lane{Express, Bulk}

// String is the name of the lane: express or bulk.
func (l Lane) String() string {
	switch l {
	case Express:
		return "express"
	case Bulk:
		return "bulk"
	}
	return fmt.Sprintf("lane %d", uint8(l))
}

// start is where a lane's records begin.
type start struct {
	first  uint64 // the first record kept
	hash   uint64 // of the record before it, 0 where there never was one
	offset uint64 // bytes of all records before it
}

const startSize = 24

func (s start) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, startSize), s.first)
	b = binary.BigEndian.AppendUint64(b, s.hash)
	return binary.BigEndian.AppendUint64(b, s.offset)
}

func decodeStart(b []byte) (start, error) {
	if b == nil {
		return start{first: 1}, nil
	}
	if len(b) != startSize {
		return start{}, fmt.Errorf("%w: start marker of %d bytes", ErrCorrupt, len(b))
	}
	return start{
		first:  binary.BigEndian.Uint64(b),
		hash:   binary.BigEndian.Uint64(b[8:]),
		offset: binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// laneState is what is known of a lane. Always
// start.first-1 ≤ released ≤ head ≤ last.
type laneState struct {
	// head is the last record published, end the bytes up to it.
	head, end atomic.Uint64
	// released is the last record released, releasedEnd the bytes up to it. The
	// janitor moves releasedEnd, so it may lag behind.
	released, releasedEnd atomic.Uint64
	// persisted is the release on disk; the janitor's alone.
	persisted uint64
	// opened is what end was when the log was opened.
	opened uint64
	// oldest is the receipt of the first record kept in Unix nanoseconds, 0 where
	// there is none or it is not known yet.
	oldest atomic.Int64

	// last and lastEnd are head and end as the committer has written them; they
	// are its own.
	last, lastEnd uint64

	mu sync.Mutex
	// begin and readers are under mu.
	begin   start
	readers []*Reader
}

// loadLane finds a lane's borders on disk.
func loadLane(db *pebble.DB, lane Lane) (*laneState, error) {
	value, err := readKey(db, startKey(lane))
	if err != nil {
		return nil, err
	}
	begin, err := decodeStart(value)
	if err != nil {
		return nil, err
	}
	s := &laneState{begin: begin, last: begin.first - 1, lastEnd: begin.offset}
	if err := s.loadHead(db, lane); err != nil {
		return nil, err
	}
	s.head.Store(s.last)
	s.end.Store(s.lastEnd)
	s.opened = s.lastEnd

	released := begin.first - 1
	if value, err = readKey(db, releasedKey(lane)); err != nil {
		return nil, err
	}
	if len(value) == 8 {
		// A log that lost its tail may have released more than it has.
		released = min(max(released, binary.BigEndian.Uint64(value)), s.last)
	}
	s.released.Store(released)
	s.releasedEnd.Store(begin.offset)
	s.persisted = released
	return s, nil
}

// loadHead takes the last record kept as the last written, and the start
// marker's where none is kept.
func (s *laneState) loadHead(db *pebble.DB, lane Lane) (err error) {
	it, err := db.NewIter(&pebble.IterOptions{
		LowerBound: recordKey(lane, s.begin.first),
		UpperBound: afterLane(lane),
	})
	if err != nil {
		return fmt.Errorf("find head: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return it.Error()
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	h, err := parseHeader(value)
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	s.last = binary.BigEndian.Uint64(it.Key()[1:])
	s.lastEnd = h.end
	return nil
}

func (s *laneState) start() start {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin
}

func (s *laneState) kept() int64 {
	// end last, so that it is not below offset.
	offset := s.start().offset
	return int64(s.end.Load() - offset)
}

func (s *laneState) unreleased() int64 {
	// end last: both only grow, and so the difference is never negative.
	released := s.releasedEnd.Load()
	return int64(s.end.Load() - released)
}

// publish makes what the committer has written readable and wakes readers.
func (s *laneState) publish() {
	if s.last == s.head.Load() {
		return
	}
	s.end.Store(s.lastEnd)
	s.head.Store(s.last)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.readers {
		r.signal()
	}
}

// release marks records up to through, at most up to the head.
func (s *laneState) release(through uint64) {
	through = min(through, s.head.Load())
	for {
		released := s.released.Load()
		if through <= released || s.released.CompareAndSwap(released, through) {
			return
		}
	}
}
