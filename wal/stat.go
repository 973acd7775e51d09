package wal

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Stats are a log's figures at one time.
type Stats struct {
	Node  string
	Lanes [len(Lanes)]LaneStats // by Lane
	// DeadLetters counts those kept, DeadBytes their keys and values.
	DeadLetters, DeadBytes int64
	// MaxBytes and MinFree are the config's. FreeBytes is what the disk has
	// left, -1 where that is not known; DiskBytes is what the folder takes.
	MaxBytes, MinFree, FreeBytes, DiskBytes int64
	// Appended are the bytes of the records appended since Open, and Written the
	// bytes that went to the disk since then: Pebble's own log, tables as they
	// were flushed, and tables as they were compacted.
	Appended, Written int64
}

// LaneStats are the figures of one lane.
type LaneStats struct {
	// First and Head are the first and the last record kept; Head is First-1
	// where none is.
	First, Head, Released  uint64
	Bytes, UnreleasedBytes int64
	// Oldest and Newest are when those two were received; zero without records.
	Oldest, Newest time.Time
	// LastMinute counts the records received in the minute before now.
	LastMinute uint64
}

// WriteAmplification is how often each appended byte was written; 0 where none
// was appended.
func (s Stats) WriteAmplification() float64 {
	if s.Appended == 0 {
		return 0
	}
	return float64(s.Written) / float64(s.Appended)
}

// Stats reads the figures.
func (l *Log) Stats() (Stats, error) {
	if err := l.enter(); err != nil {
		return Stats{}, err
	}
	defer l.leave()
	s := Stats{
		Node:        l.Node(),
		DeadLetters: l.deadCount.Load(),
		DeadBytes:   l.deadBytes.Load(),
		MaxBytes:    l.config.MaxBytes,
		MinFree:     l.config.MinFree,
		FreeBytes:   l.space.free.Load(),
	}
	if s.FreeBytes == math.MaxInt64 {
		s.FreeBytes = -1
	}
	for _, lane := range Lanes {
		stats, err := l.laneStats(lane)
		if err != nil {
			return Stats{}, fmt.Errorf("read figures of %s lane: %w", lane, err)
		}
		s.Lanes[lane] = stats
		s.Appended += int64(l.lanes[lane].end.Load() - l.lanes[lane].opened)
	}
	m := l.db.Metrics()
	total := m.Total()
	s.DiskBytes = int64(m.DiskSpaceUsage())
	s.Written = int64(total.TableBytesFlushed + total.TableBytesCompacted) // the first has Pebble's own log in it
	return s, nil
}

// laneStats reads a lane's figures, again where it was trimmed meanwhile.
func (l *Log) laneStats(lane Lane) (LaneStats, error) {
	for {
		s, err := l.readLaneStats(lane)
		if !errors.Is(err, ErrTrimmed) {
			return s, err
		}
	}
}

func (l *Log) readLaneStats(lane Lane) (LaneStats, error) {
	state := l.lanes[lane]
	first, head := l.First(lane), l.Head(lane)
	s := LaneStats{
		First: first, Head: head, Released: l.Released(lane),
		Bytes: state.kept(), UnreleasedBytes: state.unreleased(),
	}
	if first > head {
		return s, nil
	}
	oldest, err := l.header(lane, first)
	if err != nil {
		return s, err
	}
	newest, err := l.header(lane, head)
	if err != nil {
		return s, err
	}
	s.Oldest, s.Newest = time.Unix(0, oldest.received).UTC(), time.Unix(0, newest.received).UTC()
	since, err := l.since(lane, l.config.now().Add(-time.Minute).UnixNano())
	if err != nil {
		return s, err
	}
	if since <= head {
		s.LastMinute = head + 1 - since
	}
	return s, nil
}
