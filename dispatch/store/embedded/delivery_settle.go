package embedded

import (
	"context"
	"errors"
	"fmt"

	"spillway/dispatch/store"
)

// Settle writes all parts of a settlement and the cursor as one Pebble batch. It is
// not synced, as Apply is not: a crash takes it and the events behind it, or neither.
func (s *Store) Settle(ctx context.Context, settlement store.Settlement) (err error) {
	done, err := s.begin(ctx, opSettle)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	sh := s.deliveries.find(settlement.Share)
	if sh == nil {
		return store.ErrFenced
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.holds(settlement.Token) || sh.cursor != idOf(settlement.From) {
		return store.ErrFenced
	}
	return s.settle(sh, &settlement)
}

// settle commits a settlement. Holds sh.mu.
func (s *Store) settle(sh *share, settlement *store.Settlement) (err error) {
	stored := lookup{db: s.db}
	defer func() { err = errors.Join(err, stored.close()) }()
	b := s.deliveryBatch(sh)
	defer func() { _ = b.Close() }()
	for i := range settlement.Park {
		p := &settlement.Park[i]
		b.park(&p.Parked)
		b.setEntry(tagParkedEvent, idOf(p.Place), &p.Entry)
	}
	for i := range settlement.Retry {
		p := &settlement.Retry[i]
		// One that is not parked has no event any more: its contact was forgotten.
		waits, err := stored.has(deliveryKey(tagParked, sh.Share, idOf(p.Place)))
		if err != nil {
			return err
		}
		if waits {
			b.park(p)
		}
	}
	for _, p := range settlement.Done {
		b.drop(tagParked, tagParkedEvent, idOf(p))
	}
	dead := sh.dead
	for i := range settlement.Dead {
		d := &settlement.Dead[i]
		id := idOf(d.Place)
		known, err := stored.has(deliveryKey(tagDead, sh.Share, id))
		if err != nil {
			return err
		}
		if !known {
			dead++
		}
		b.drop(tagParked, tagParkedEvent, id)
		b.set(tagDead, id, deadValue(d))
		b.setEntry(tagDeadEvent, id, &d.Entry)
	}
	return s.commitShare(sh, b, idOf(settlement.To), sh.changed, dead)
}

// has reports whether a key is there.
func (l *lookup) has(k []byte) (bool, error) {
	v, err := l.get(k)
	return v != nil, err
}

func (s *Store) deliveryBatch(sh *share) *deliveryBatch {
	return &deliveryBatch{Batch: s.db.NewBatch(), share: sh.Share}
}

// commitShare writes the batch with the share as it is then. Holds sh.mu.
func (s *Store) commitShare(sh *share, b *deliveryBatch, cursor, changed uint64, dead int64) error {
	if b.err == nil && (cursor != sh.cursor || changed != sh.changed || dead != sh.dead) {
		b.err = b.Set(sharePrefix(tagShare, sh.Share), shareValue(cursor, changed, dead), nil)
	}
	if b.err != nil {
		return fmt.Errorf("write deliveries: %w", b.err)
	}
	if b.Empty() {
		return nil
	}
	if err := s.commitBatch(b.Batch); err != nil {
		return err
	}
	sh.cursor, sh.changed, sh.dead = cursor, changed, dead
	return nil
}
