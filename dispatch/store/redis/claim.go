package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

// Claim answers each claim. Ids are claimed one by one where they stand on
// different nodes; a claim that is cut short is completed by the next.
func (s *Store) Claim(ctx context.Context, claims []store.Claim) (_ []store.Claimed, err error) {
	done, err := s.begin(ctx, opClaim)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	answers := make([]store.Claimed, len(claims))
	for range maxConflicts {
		again, err := s.claim(ctx, claims, answers)
		if !again || err != nil {
			return answers, err
		}
		s.metrics.conflicts.Inc()
	}
	return nil, fmt.Errorf("claim contacts: %w", errConflict)
}

// claim reads, answers, and writes; again is true where others wrote meanwhile.
func (s *Store) claim(ctx context.Context, claims []store.Claim, answers []store.Claimed) (again bool, err error) {
	p := s.newPages()
	for i := range claims {
		c := claims[i].Customer
		p.want(c.WABA, c.WaID, c.UserID)
	}
	p.loadOnce(ctx)
	var missing []int
	for i := range claims {
		var answered bool
		if answers[i], answered, err = p.answer(&claims[i]); err != nil {
			return false, err
		}
		if !answered {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return false, nil
	}
	return s.claimMissing(ctx, claims, missing, answers)
}

// answer answers a claim by the pages read; false where it needs writing. A look-up
// of somebody whose partition has been away for long is answered as if they were
// unknown: a status is not held back for good by another partition's node. That is
// the right contact for all who were first seen under their wa_id.
func (p *pages) answer(claim *store.Claim) (store.Claimed, bool, error) {
	c := claim.Customer
	var owners [2]*contacts.Owner
	for i, id := range [...]string{c.WaID, c.UserID} {
		if id == "" {
			continue
		}
		if each := p.byID[pageID{c.WABA, id}]; each.err != nil {
			if claim.Message == "" && p.store.partitions[each.partition].away.long(time.Now()) {
				p.store.metrics.guessed.Inc()
				continue
			}
			return store.Claimed{}, false, fmt.Errorf("read contacts: %w", each.err)
		}
		var err error
		if owners[i], err = p.Owner(c.WABA, id); err != nil {
			return store.Claimed{}, false, err
		}
	}
	claimed, answered := contacts.Answer(c, owners[0], owners[1], claim.Message)
	return claimed, answered, nil
}

// claimMissing answers the claims that write, one after the other.
func (s *Store) claimMissing(ctx context.Context, claims []store.Claim, missing []int, answers []store.Claimed) (again bool, err error) {
	p := s.newPages()
	for _, i := range missing {
		p.wantCustomer(claims[i].Customer)
	}
	if err := p.load(ctx, true); err != nil {
		return false, err
	}
	book := contacts.NewBook(p, s.cfg.Now)
	for _, i := range missing {
		r, err := book.Claim(claims[i].Customer, claims[i].Message)
		if err != nil {
			return false, err
		}
		answers[i] = store.Claimed{Contact: r.ID, Birth: r.Birth}
	}
	writes, err := p.writes(book)
	if err != nil || len(writes) == 0 {
		return false, err
	}
	if batch := claims[missing[0]].Batch; batch != nil && batch.Mode == store.Advance {
		return s.claimFor(ctx, batch, writes)
	}
	return s.writeAll(ctx, s.casCalls(writes), nil)
}

// claimFor writes the pages that a batch claims: those of its own partition at its
// cursor, and then the others.
func (s *Store) claimFor(ctx context.Context, b *store.Batch, writes []pageWrite) (again bool, err error) {
	if err := b.Validate(len(s.partitions)); err != nil {
		return false, err
	}
	cursors, field, from := &s.partitions[b.Partition].keys.cursor, fieldOf(b.Source), textOf(b.From)
	own, others := split(writes, b.Partition)
	if len(own) == 0 {
		text, err := s.client.HGet(ctx, *cursors, field).Result()
		if err != nil && !errors.Is(err, goredis.Nil) {
			return false, fmt.Errorf("claim contacts: %w", err)
		}
		if text != from {
			return false, s.cursorError(b, text)
		}
	}
	calls := make([]*invocation, len(own))
	for i := range own {
		w := &own[i]
		calls[i] = newInvocation(casScript, 2, 5)
		calls[i].add(&w.key, cursors, &w.old, &w.new, s.cfg.ContactTTL.Milliseconds(), field, from)
	}
	if again, err := s.writeAll(ctx, calls, b); again || err != nil {
		return again, err
	}
	return s.writeAll(ctx, s.casCalls(others), nil)
}

// writeAll runs the calls that write pages, for a batch where its cursor counts;
// again is true where others wrote meanwhile.
func (s *Store) writeAll(ctx context.Context, calls []*invocation, b *store.Batch) (again bool, err error) {
	replies, errs := s.runAll(ctx, calls)
	for i, reply := range replies {
		if errs[i] != nil {
			return false, fmt.Errorf("claim contacts: %w", errs[i])
		}
		if text, differs := reply.(string); differs && b != nil {
			return false, s.cursorError(b, text)
		}
		set, err := integerOf(reply)
		if err != nil {
			return false, fmt.Errorf("claim contacts: %w", err)
		}
		again = again || set == 0
	}
	return again, nil
}

// cursorError is why nothing is claimed for a batch.
func (s *Store) cursorError(b *store.Batch, text string) error {
	stored, err := s.otherCursor(b, text)
	if err != nil {
		return err
	}
	return fmt.Errorf("claim contacts: %w", &store.CursorError{Stored: stored})
}
