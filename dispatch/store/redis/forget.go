package redis

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

// forgetEntries is how many events of a stream are looked at in one script: a
// millisecond or so in which the server does nothing else.
const forgetEntries = 256

// Contact gives the contact known under the id.
func (s *Store) Contact(ctx context.Context, waba, id string) (_ store.Contact, err error) {
	done, err := s.begin(ctx, opContact)
	if err != nil {
		return store.Contact{}, err
	}
	defer func() { done(err) }()
	p := s.newPages()
	p.want(waba, id)
	if err := p.load(ctx, true); err != nil {
		return store.Contact{}, err
	}
	r, err := contacts.NewBook(p, s.cfg.Now).Of(waba, id)
	if err != nil {
		return store.Contact{}, err
	}
	if r == nil {
		return store.Contact{}, store.ErrNoContact
	}
	return r.Contact, nil
}

// Forget removes the contact, under all its ids, its events from the streams, and
// those of deliveries that wait or are dead; all of these it counts. A delivery that a
// receiver has in hand may still be made, and is parked or dead where it fails:
// forgetting once more some time later takes that one too.
// Somebody who never wrote has no contact but may have statuses: these go too.
// What was seen stays; it is hashes, and keeps a redelivery from bringing the
// message back. Redis frees the memory of deleted events when those beside them
// are trimmed.
func (s *Store) Forget(ctx context.Context, waba, id string) (events int, err error) {
	done, err := s.begin(ctx, opContact)
	if err != nil {
		return 0, err
	}
	defer func() { done(err) }()
	ids, known, err := s.forgetContact(ctx, waba, id)
	if err != nil {
		return 0, err
	}
	for _, p := range s.partitions {
		n, err := s.forgetEvents(ctx, p, ids)
		events += n
		if err != nil {
			return events, err
		}
		n, err = s.forgetDeliveries(ctx, p, ids)
		events += n
		if err != nil {
			return events, err
		}
	}
	if !known && events == 0 {
		return 0, store.ErrNoContact
	}
	return events, nil
}

// forgetContact deletes all copies, and returns all ids that its events may bear:
// the contact's own, those of copies that were not told of a merge, and those that
// its ids gave before they were one contact.
func (s *Store) forgetContact(ctx context.Context, waba, id string) (ids []uuid.UUID, known bool, err error) {
	for range maxConflicts {
		p := s.newPages()
		p.want(waba, id)
		if err := p.load(ctx, true); err != nil {
			return nil, false, err
		}
		ids, known = nil, false
		set := map[uuid.UUID]struct{}{event.ContactID(waba, id): {}}
		var writes []pageWrite
		for _, each := range p.byID {
			if each.copy == nil {
				continue
			}
			set[each.copy.ID], set[event.ContactID(waba, each.id)] = struct{}{}, struct{}{}
			writes = append(writes, pageWrite{key: each.key, partition: each.partition, old: each.raw})
		}
		for k := range set {
			ids = append(ids, k)
		}
		replies, errs := s.runAll(ctx, s.casCalls(writes))
		all := true
		for i := range writes {
			if errs[i] != nil {
				return nil, false, fmt.Errorf("forget contact: %w", errs[i])
			}
			set, err := integerOf(replies[i])
			if err != nil {
				return nil, false, fmt.Errorf("forget contact: %w", err)
			}
			all = all && set == 1
			known = true
		}
		if all {
			return ids, known, nil
		}
	}
	return nil, false, fmt.Errorf("forget contact: %w", errConflict)
}

// forgetEvents deletes the events of a partition that bear one of the contact ids.
func (s *Store) forgetEvents(ctx context.Context, p *partition, ids []uuid.UUID) (events int, err error) {
	for after := "0-0"; after != ""; {
		c := newInvocation(forgetScript, 1, 4+2*len(ids))
		c.add(&p.keys.events, after, forgetEntries, len(ids))
		c.addPrefixes(ids)
		reply, err := s.run(ctx, c)
		if err != nil {
			return events, fmt.Errorf("forget events: %w", err)
		}
		list, err := listOf(reply, 2)
		if err != nil {
			return events, fmt.Errorf("forget events: %w", err)
		}
		if after, err = stringOf(list[0]); err != nil {
			return events, fmt.Errorf("forget events: %w", err)
		}
		n, err := integerOf(list[1])
		if err != nil {
			return events, fmt.Errorf("forget events: %w", err)
		}
		events += int(n)
	}
	return events, nil
}

// addPrefixes adds how payloads begin that bear one of the ids: those of contact
// events, then those of all others.
func (c *invocation) addPrefixes(ids []uuid.UUID) {
	for _, kind := range []string{event.ContactNew, event.MessageNew} {
		for _, id := range ids {
			c.add(event.ContactPrefix(kind, id))
		}
	}
}
