package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/store"
)

const (
	// retryBytes is about how much is parked again in one batch.
	retryBytes = 1 << 20
	// deadPiece is how many dead deliveries are looked at under one lock.
	deadPiece = 1024
)

// DeadList gives dead deliveries of an endpoint, by partition, the oldest place
// first.
func (s *Store) DeadList(ctx context.Context, endpoint string, after *store.Dead, limit int) (_ []store.Dead, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("list dead deliveries: %w", err)
	}
	from := store.Share{Endpoint: endpoint}
	begin := sharePrefix(tagDead, from)
	if after != nil {
		from.Partition = after.Partition
		begin = append(deliveryKey(tagDead, from, idOf(after.Place)), 0)
	}
	last := store.Share{Endpoint: endpoint, Partition: len(s.partitions) - 1}
	it, err := s.iterate(begin, shareEnd(tagDead, last))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	// The events as they are for it, whatever is settled meanwhile.
	events, err := it.Clone(pebble.CloneOptions{IterOptions: &pebble.IterOptions{}})
	if err != nil {
		return nil, fmt.Errorf("list dead deliveries: %w", err)
	}
	defer func() { err = errors.Join(err, events.Close()) }()
	var list []store.Dead
	for ok := it.First(); ok && len(list) < limit; ok = it.Next() {
		if err := s.goesOn(ctx); err != nil {
			return nil, err
		}
		d, err := readDead(it, events)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, it.Error()
}

// readDead reads the dead delivery that an iterator stands at, and its event.
func readDead(it, events *pebble.Iterator) (store.Dead, error) {
	key, id, err := parseDeliveryKey(it.Key())
	if err != nil {
		return store.Dead{}, err
	}
	d, err := parseDead(id, it.Value())
	if err != nil {
		return store.Dead{}, err
	}
	d.Share = key
	if !events.SeekPrefixGE(deliveryKey(tagDeadEvent, key, id)) {
		return store.Dead{}, fmt.Errorf("read the event of a dead delivery: %w", errors.Join(events.Error(), errMalformed))
	}
	d.Entry, err = parseEntry(id, events.Value())
	d.Entry.Payload = bytes.Clone(d.Entry.Payload)
	return d, err
}

// DeadCount is how many dead deliveries there are; each share counts its own.
func (s *Store) DeadCount(ctx context.Context, endpoint string) (n int64, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return 0, fmt.Errorf("count dead deliveries: %w", err)
	}
	for _, sh := range s.deliveries.of(endpoint) {
		sh.mu.Lock()
		n += sh.dead
		sh.mu.Unlock()
	}
	return n, nil
}

// DeadRetry parks dead deliveries again. It is durable when it returns.
func (s *Store) DeadRetry(ctx context.Context, endpoint string, dead []store.Dead) (n int, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return 0, fmt.Errorf("retry dead deliveries: %w", err)
	}
	for _, sh := range s.deliveries.of(endpoint) {
		var ids []uint64
		for i := range dead {
			if dead[i].Partition == sh.Partition {
				ids = append(ids, idOf(dead[i].Place))
			}
		}
		slices.Sort(ids)
		for ids = slices.Compact(ids); len(ids) > 0; {
			if err := s.goesOn(ctx); err != nil {
				return n, err
			}
			parked, rest, err := s.retrySome(sh, ids)
			if n += parked; err != nil {
				return n, err
			}
			ids = rest
		}
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.sync()
}

// retrySome parks the first of some dead deliveries of a share again, and returns
// how many it parked and which of the others are left.
func (s *Store) retrySome(sh *share, ids []uint64) (n int, rest []uint64, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	stored := lookup{db: s.db}
	defer func() { err = errors.Join(err, stored.close()) }()
	b := s.deliveryBatch(sh)
	defer func() { _ = b.Close() }()
	now := s.cfg.Now()
	for len(ids) > 0 && b.Len() < retryBytes {
		id := ids[0]
		ids = ids[1:]
		v, err := stored.get(deliveryKey(tagDead, sh.Share, id))
		if err != nil {
			return 0, nil, err
		}
		if v == nil {
			continue
		}
		d, err := parseDead(id, v)
		if err != nil {
			return 0, nil, err
		}
		if v, err = stored.get(deliveryKey(tagDeadEvent, sh.Share, id)); err != nil {
			return 0, nil, err
		}
		p := retried(&d, now)
		b.park(&p)
		b.set(tagParkedEvent, id, v)
		b.drop(tagDead, tagDeadEvent, id)
		n++
	}
	if n == 0 {
		return 0, ids, nil
	}
	if err := s.commitShare(sh, b, sh.cursor, sh.changed+1, sh.dead-int64(n)); err != nil {
		return 0, nil, err
	}
	return n, ids, nil
}

// DeadForget drops the dead deliveries that died before a time.
func (s *Store) DeadForget(ctx context.Context, endpoint string, before time.Time) (n int, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return 0, fmt.Errorf("forget dead deliveries: %w", err)
	}
	for _, sh := range s.deliveries.of(endpoint) {
		for next := sharePrefix(tagDead, sh.Share); next != nil; {
			if err := s.goesOn(ctx); err != nil {
				return n, err
			}
			dropped, rest, err := s.forgetSome(sh, next, before)
			if n += dropped; err != nil {
				return n, err
			}
			next = rest
		}
	}
	return n, nil
}

// forgetSome looks at some dead deliveries of a share, and drops those that died
// before a time. It returns how many these were, and where to go on: nil at the end.
func (s *Store) forgetSome(sh *share, from []byte, before time.Time) (n int, next []byte, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	it, err := s.iterate(from, shareEnd(tagDead, sh.Share))
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	b := s.deliveryBatch(sh)
	defer func() { _ = b.Close() }()
	looked := 0
	for ok := it.First(); ok; ok = it.Next() {
		if looked++; looked > deadPiece {
			next = bytes.Clone(it.Key())
			break
		}
		_, id, err := parseDeliveryKey(it.Key())
		if err != nil {
			return 0, nil, err
		}
		d, err := parseDead(id, it.Value())
		if err != nil {
			return 0, nil, err
		}
		if d.Died.Before(before) {
			b.drop(tagDead, tagDeadEvent, id)
			n++
		}
	}
	if err := it.Error(); err != nil {
		return 0, nil, fmt.Errorf("forget dead deliveries: %w", err)
	}
	return n, next, s.commitShare(sh, b, sh.cursor, sh.changed, sh.dead-int64(n))
}
