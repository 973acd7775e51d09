package embedded

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/store"
)

const (
	// A round holds at most so much of one partition, so that a backlog in one
	// does not hold up the others.
	roundEntries = 256
	roundBytes   = 256 << 10
	// quietRounds is the least time between two rounds without entries.
	quietRounds = time.Second

	// A read copies what it gives into pieces of memory of at most arenaBytes; less
	// where little is asked for, as many readers do at a time.
	arenaBytes = 64 << 10
	leastArena = 1 << 10
)

// Bounds gives each partition's bounds, and the highest place reserved.
func (s *Store) Bounds(ctx context.Context) (bounds []store.Bounds, limit store.Place, err error) {
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return nil, store.Place{}, err
	}
	defer func() { done(err) }()
	p := &s.places
	p.mu.Lock()
	defer p.mu.Unlock()
	bounds = make([]store.Bounds, len(s.partitions))
	for i := range bounds {
		bounds[i] = store.Bounds{Trimmed: placeOf(p.blocks.trimmed[i]), Last: placeOf(p.held[i])}
	}
	return bounds, placeOf(p.reserved), nil
}

// Read gives entries of a partition after a place.
func (s *Store) Read(ctx context.Context, partition int, after store.Place, limit, maxBytes int) (_ []store.Entry, err error) {
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	if partition < 0 || partition >= len(s.partitions) {
		return nil, fmt.Errorf("read events: no partition %d of %d", partition, len(s.partitions))
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = it.Close() }()
	entries, _, err := s.readEvents(it, partition, idOf(after), math.MaxUint64, limit, maxBytes)
	return entries, err
}

// readEvents gives the entries of a partition after one id and up to another; all
// of them where more is false.
func (s *Store) readEvents(it *pebble.Iterator, partition int, after, upTo uint64, limit, maxBytes int) (entries []store.Entry, more bool, err error) {
	if after >= upTo || limit <= 0 {
		return nil, after < upTo, nil
	}
	memory := arena{chunk: min(arenaBytes, max(maxBytes/8, leastArena))}
	bytes := 0
	for _, block := range s.places.holding(partition, after, upTo) {
		end := eventKey(block, partition+1, 0)
		if upTo < math.MaxUint64 {
			end = eventKey(block, partition, upTo+1)
		}
		it.SetBounds(eventKey(block, partition, after+1), end)
		for ok := it.First(); ok; ok = it.Next() {
			if len(entries) == limit || bytes >= maxBytes {
				return entries, true, nil
			}
			e, err := readEntry(it)
			if err != nil {
				return nil, false, err
			}
			e.Payload = memory.copy(e.Payload)
			bytes += len(e.Payload)
			entries = append(entries, e)
		}
		if err := it.Error(); err != nil {
			return nil, false, fmt.Errorf("read events: %w", err)
		}
	}
	return entries, false, nil
}

// readEntry gives the entry an iterator stands at, until it moves.
func readEntry(it *pebble.Iterator) (store.Entry, error) {
	_, id, err := parseEventKey(it.Key())
	if err != nil {
		return store.Entry{}, err
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return store.Entry{}, fmt.Errorf("read events: %w", err)
	}
	return parseEntry(id, v)
}

// Follow emits all entries after the given places, and then each new one.
func (s *Store) Follow(ctx context.Context, from []store.Place, emit func(store.Round) error) error {
	if len(from) != len(s.partitions) {
		return fmt.Errorf("follow events: %d places for %d partitions", len(from), len(s.partitions))
	}
	f := &follower{store: s, at: make([]uint64, len(from)), held: make([]uint64, len(from))}
	for i, p := range from {
		f.at[i] = idOf(p)
	}
	s.followers.Add(1)
	defer s.followers.Add(-1)
	for {
		round, wake, err := f.collect(ctx)
		if err != nil {
			return err
		}
		moved := f.complete > f.told
		if len(round.Entries) > 0 || !f.begun || moved && time.Since(f.emitted) >= quietRounds {
			if err := emit(round); err != nil {
				return err
			}
			f.begun, f.told, f.emitted = true, f.complete, time.Now()
			continue
		}
		if err := f.wait(ctx, wake, moved); err != nil {
			return err
		}
	}
}

// follower is one call of Follow.
type follower struct {
	store *Store
	// at is the last id handled by partition, held the last that can be.
	at, held []uint64
	// complete is how far all partitions are handled, told what was emitted of it.
	complete, told uint64
	begun          bool
	emitted        time.Time
}

// collect reads the next round. wake is closed when there is more after it.
func (f *follower) collect(ctx context.Context) (round store.Round, wake <-chan struct{}, err error) {
	s := f.store
	done, err := s.begin(ctx, opRead)
	if err != nil {
		return store.Round{}, nil, err
	}
	defer func() { done(err) }()
	complete, wake := s.places.view(f.held)
	var it *pebble.Iterator
	defer func() {
		if it != nil {
			_ = it.Close()
		}
	}()
	for i, p := range s.partitions {
		if f.at[i] >= f.held[i] {
			continue
		}
		entries, more, ok := p.tail.after(f.at[i], f.held[i])
		if !ok {
			if it == nil {
				if it, err = s.db.NewIter(nil); err != nil {
					return store.Round{}, nil, fmt.Errorf("follow events: %w", err)
				}
			}
			entries, more, err = s.readEvents(it, i, f.at[i], f.held[i], roundEntries, roundBytes)
			if err != nil {
				return store.Round{}, nil, err
			}
		}
		f.at[i] = f.held[i]
		if more {
			f.at[i] = idOf(entries[len(entries)-1].Place)
			complete = min(complete, f.at[i])
		}
		if len(entries) > 0 {
			if round.Entries == nil {
				round.Entries = make(map[int][]store.Entry)
			}
			round.Entries[i] = entries
		}
	}
	f.complete = max(f.complete, complete)
	round.Complete = placeOf(f.complete)
	return round, wake, nil
}

// wait returns when there is news: entries, or where complete has moved, when
// that is due to be told.
func (f *follower) wait(ctx context.Context, wake <-chan struct{}, moved bool) error {
	var due <-chan time.Time
	if moved {
		timer := time.NewTimer(quietRounds - time.Since(f.emitted))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-wake:
		return nil
	case <-due:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.store.closing:
		return errClosed
	case <-f.store.fatal:
		return errFailed
	}
}

// arena holds copies of many small things in few allocations.
type arena struct {
	chunk int // bytes taken at a time
	free  []byte
}

func newArena(size int) arena { return arena{chunk: arenaBytes, free: make([]byte, 0, size)} }

func (a *arena) copy(b []byte) []byte {
	if cap(a.free)-len(a.free) < len(b) {
		a.free = make([]byte, 0, max(a.chunk, len(b)))
	}
	start := len(a.free)
	a.free = append(a.free, b...)
	return a.free[start:len(a.free):len(a.free)]
}
