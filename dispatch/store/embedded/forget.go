package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// forgetBatch is how many events are deleted at a time.
const forgetBatch = 1024

// Contact gives the contact known under the id.
func (s *Store) Contact(ctx context.Context, waba, id string) (_ store.Contact, err error) {
	done, err := s.begin(ctx, opContact)
	if err != nil {
		return store.Contact{}, err
	}
	defer func() { done(err) }()
	s.contacts.Lock()
	defer s.contacts.Unlock()
	r, err := newBook(s.db, s.cfg.Now).Of(waba, id)
	if err != nil {
		return store.Contact{}, err
	}
	if r == nil {
		return store.Contact{}, store.ErrNoContact
	}
	return r.Contact, nil
}

// Forget removes the contact, under all its ids, its events from the streams, and
// those of deliveries that wait or are dead; all of these it counts. A delivery that
// a receiver has in hand at that moment may still be made, and is parked where it
// fails: forgetting once more some time later takes that one too. Somebody who never wrote has no contact but may have statuses: these
// go too. What was seen stays; it is hashes, and keeps a redelivery from bringing
// the message back. When Forget returns, all of it is durable.
func (s *Store) Forget(ctx context.Context, waba, id string) (events int, err error) {
	done, err := s.begin(ctx, opContact)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	ids, known, err := s.forgetContact(waba, id)
	if err != nil {
		return 0, err
	}
	events, err = s.forgetEvents(ctx, ids)
	if err != nil {
		return events, err
	}
	deliveries, err := s.forgetDeliveries(ctx, ids)
	if events += deliveries; err != nil {
		return events, err
	}
	if !known && events == 0 {
		return 0, store.ErrNoContact
	}
	return events, s.sync()
}

// forgetContact removes the record, and returns all ids its events may bear: the
// contact's own, and those that its ids gave before they were one contact.
func (s *Store) forgetContact(waba, id string) (ids []uuid.UUID, known bool, err error) {
	s.contacts.Lock()
	defer s.contacts.Unlock()
	b := newBook(s.db, s.cfg.Now)
	r, err := b.Of(waba, id)
	if err != nil {
		return nil, false, err
	}
	ids = []uuid.UUID{event.ContactID(waba, id)}
	if r == nil {
		return ids, false, nil
	}
	ids = append(ids, r.ID)
	for _, each := range r.IDs {
		ids = append(ids, event.ContactID(waba, each))
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := b.Remove(r); err != nil {
		return nil, false, err
	}
	if err := writeBook(b, batch); err != nil {
		return nil, false, err
	}
	return ids, true, s.commitBatch(batch)
}

// forgetEvents deletes the events that bear one of the contact ids.
func (s *Store) forgetEvents(ctx context.Context, ids []uuid.UUID) (events int, err error) {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	match := newMatcher(ids)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tagEvent}, UpperBound: []byte{tagEvent + 1}})
	if err != nil {
		return 0, fmt.Errorf("forget events: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	found, seen := make([][]doomed, len(s.partitions)), 0
	for ok := it.First(); ok; ok = it.Next() {
		if seen++; seen%forgetBatch == 0 && ctx.Err() != nil {
			return events, ctx.Err()
		}
		e, err := readEntry(it)
		if err != nil {
			return events, err
		}
		if !match.matches(&e) {
			continue
		}
		i, id, err := parseEventKey(it.Key())
		if err != nil {
			return events, err
		}
		found[i] = append(found[i], doomed{key: bytes.Clone(it.Key()), id: id, bytes: int64(len(it.Key()) + len(it.Value()))})
		if len(found[i]) == forgetBatch {
			if err := s.deleteEvents(s.partitions[i], found[i]); err != nil {
				return events, err
			}
			events += len(found[i])
			found[i] = found[i][:0]
		}
	}
	if err := it.Error(); err != nil {
		return events, fmt.Errorf("forget events: %w", err)
	}
	for i, rest := range found {
		if err := s.deleteEvents(s.partitions[i], rest); err != nil {
			return events, err
		}
		events += len(rest)
	}
	return events, nil
}

// doomed is an event to be deleted, and what it counts.
type doomed struct {
	key   []byte
	id    uint64
	bytes int64
}

// deleteEvents deletes events of a partition, and takes them off the counts.
// Holds trimming, so that none of them is trimmed meanwhile.
func (s *Store) deleteEvents(p *partition, found []doomed) error {
	if len(found) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, d := range found {
		if err := batch.Delete(d.key, nil); err != nil {
			return fmt.Errorf("forget events: %w", err)
		}
	}
	for first, t := range s.places.uncount(p.index, found) {
		if err := batch.Set(blockKey(first, p.index), blockValue(t), nil); err != nil {
			return fmt.Errorf("forget events: %w", err)
		}
	}
	if err := s.commitBatch(batch); err != nil {
		return err
	}
	p.tail.reset(s.places.lastHeld(p.index))
	return nil
}

// matcher finds the events of contacts by how their payloads begin.
type matcher struct{ contact, other [][]byte }

func newMatcher(ids []uuid.UUID) (m matcher) {
	for _, id := range ids {
		m.contact = append(m.contact, event.ContactPrefix(event.ContactNew, id))
		m.other = append(m.other, event.ContactPrefix(event.MessageNew, id))
	}
	return m
}

func (m matcher) matches(e *store.Entry) bool {
	prefixes := m.other
	if e.Type == event.ContactNew || e.Type == event.ContactUpdated {
		prefixes = m.contact
	}
	for _, p := range prefixes {
		if bytes.HasPrefix(e.Payload, p) {
			return true
		}
	}
	return false
}
