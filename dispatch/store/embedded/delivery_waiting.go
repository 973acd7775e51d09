package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/store"
)

// waitingPiece is how many parked deliveries one call of emit gets.
const waitingPiece = 256

// Waiting emits what is parked as it is at the call, the oldest place first. It
// reads no events. What was parked before leaves tombstones that it has to pass, and
// that Pebble compacts away by itself where they are dense: of 300,000 parked ones,
// delivered one after the other, it was never slower than to read them all had been
// (0.2 to 0.4 s), and three seconds after the last it took 0.01 to 0.06 s. So no mark
// is kept of where to begin.
func (s *Store) Waiting(ctx context.Context, lease store.Lease, emit func([]store.Parked) error) error {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return err
	}
	var stopped error // by emit: no error of the store's
	err = s.waiting(ctx, lease, func(piece []store.Parked) bool {
		stopped = emit(piece)
		return stopped == nil
	})
	done(err)
	return errors.Join(err, stopped)
}

func (s *Store) waiting(ctx context.Context, lease store.Lease, emit func([]store.Parked) bool) (err error) {
	it, err := s.iterateParked(lease)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	piece := make([]store.Parked, 0, waitingPiece)
	for ok := it.First(); ok; ok = it.Next() {
		_, id, err := parseDeliveryKey(it.Key())
		if err != nil {
			return err
		}
		p, _, err := parseParked(id, it.Value())
		if err != nil {
			return err
		}
		if piece = append(piece, p); len(piece) < waitingPiece {
			continue
		}
		if !emit(piece) {
			return nil
		}
		piece = piece[:0]
		if err := s.goesOn(ctx); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read parked deliveries: %w", err)
	}
	if len(piece) > 0 {
		emit(piece)
	}
	return nil
}

// iterateParked begins at what is parked while the lease holds.
func (s *Store) iterateParked(lease store.Lease) (*pebble.Iterator, error) {
	sh := s.deliveries.find(lease.Share)
	if sh == nil {
		return nil, store.ErrFenced
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.holds(lease.Token) {
		return nil, store.ErrFenced
	}
	return s.iterate(sharePrefix(tagParked, sh.Share), shareEnd(tagParked, sh.Share))
}

func (s *Store) iterate(from, to []byte) (*pebble.Iterator, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	return it, nil
}

// goesOn is asked by long calls, which Close waits for.
func (s *Store) goesOn(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return errClosed
	case <-s.fatal:
		return errFailed
	default:
		return nil
	}
}

// Entries gives the events of parked deliveries.
func (s *Store) Entries(ctx context.Context, key store.Share, places []store.Place) (_ []store.Entry, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	if err := key.Validate(len(s.partitions)); err != nil {
		return nil, fmt.Errorf("read parked events: %w", err)
	}
	stored := lookup{db: s.db}
	defer func() { err = errors.Join(err, stored.close()) }()
	memory := arena{chunk: leastArena}
	entries := make([]store.Entry, len(places))
	for i, p := range places {
		id := idOf(p)
		v, err := stored.get(deliveryKey(tagParkedEvent, key, id))
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if entries[i], err = parseEntry(id, v); err != nil {
			return nil, err
		}
		entries[i].Payload = memory.copy(entries[i].Payload)
	}
	return entries, nil
}
