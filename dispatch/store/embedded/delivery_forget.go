package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// forgetDeliveries drops the deliveries whose events bear one of the contact ids.
// It looks at what waits and what is dead as of one moment, and drops what it finds
// wherever that was moved meanwhile.
func (s *Store) forgetDeliveries(ctx context.Context, ids []uuid.UUID) (n int, err error) {
	match := newMatcher(ids)
	it, err := s.iterate([]byte{tagDeadEvent}, []byte{tagParkedEvent + 1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for _, tag := range []byte{tagDeadEvent, tagParkedEvent} {
		it.SetBounds([]byte{tag}, []byte{tag + 1})
		for ok := it.First(); ok; ok = it.Next() {
			if err := s.goesOn(ctx); err != nil {
				return n, err
			}
			key, id, err := parseDeliveryKey(it.Key())
			if err != nil {
				return n, err
			}
			e, err := parseEntry(id, it.Value())
			if err != nil {
				return n, err
			}
			if !match.matches(&e) {
				continue
			}
			if err := s.forgetDelivery(key, id); err != nil {
				return n, err
			}
			n++
		}
		if err := it.Error(); err != nil {
			return n, fmt.Errorf("forget deliveries: %w", err)
		}
	}
	return n, nil
}

// forgetDelivery drops a delivery, whether it waits or is dead.
func (s *Store) forgetDelivery(key store.Share, id uint64) (err error) {
	sh := s.deliveries.find(key)
	if sh == nil {
		return fmt.Errorf("forget a delivery of a share that is not known: %w", errMalformed)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	stored := lookup{db: s.db}
	defer func() { err = errors.Join(err, stored.close()) }()
	isDead, err := stored.has(deliveryKey(tagDead, key, id))
	if err != nil {
		return err
	}
	b := s.deliveryBatch(sh)
	defer func() { _ = b.Close() }()
	b.drop(tagParked, tagParkedEvent, id)
	b.drop(tagDead, tagDeadEvent, id)
	dead := sh.dead
	if isDead {
		dead--
	}
	return s.commitShare(sh, b, sh.cursor, sh.changed, dead)
}
