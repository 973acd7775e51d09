package embedded

import (
	"context"
	"errors"

	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

// Claim answers each claim. What it writes is not synced: it stands in Pebble's
// log before the Apply that relies on it, so a lost suffix takes both.
func (s *Store) Claim(ctx context.Context, claims []store.Claim) (_ []store.Claimed, err error) {
	done, err := s.begin(ctx, opClaim)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	rest, err := s.work(ctx)
	if err != nil {
		return nil, err
	}
	defer rest()
	answers := make([]store.Claimed, len(claims))
	missing, err := s.lookUp(claims, answers)
	if err != nil || len(missing) == 0 {
		return answers, err
	}
	if err := s.claimMissing(claims, missing, answers); err != nil {
		return nil, err
	}
	return answers, nil
}

// lookUp answers what can be answered without writing, and returns the claims
// that it could not.
func (s *Store) lookUp(claims []store.Claim, answers []store.Claimed) (missing []int, err error) {
	owners := lookup{db: s.db}
	defer func() { err = errors.Join(err, owners.close()) }()
	for i := range claims {
		c := claims[i].Customer
		wa, err := ownerOf(&owners, c.WABA, c.WaID)
		if err != nil {
			return nil, err
		}
		user, err := ownerOf(&owners, c.WABA, c.UserID)
		if err != nil {
			return nil, err
		}
		var answered bool
		if answers[i], answered = contacts.Answer(c, wa, user, claims[i].Message); !answered {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

func ownerOf(owners *lookup, waba, id string) (*contacts.Owner, error) {
	if id == "" {
		return nil, nil
	}
	v, err := owners.get(ownerKey(waba, id))
	if v == nil || err != nil {
		return nil, err
	}
	return parseOwner(v)
}

// claimMissing answers the claims that write, one after the other.
func (s *Store) claimMissing(claims []store.Claim, missing []int, answers []store.Claimed) error {
	s.contacts.Lock()
	defer s.contacts.Unlock()
	if batch := claims[missing[0]].Batch; batch != nil && batch.Mode == store.Advance {
		if err := batch.Validate(len(s.partitions)); err != nil {
			return err
		}
		if stored := s.partitions[batch.Partition].cursor(batch.Source); stored != batch.From {
			return &store.CursorError{Stored: stored}
		}
	}
	b := newBook(s.db, s.cfg.Now)
	for _, i := range missing {
		r, err := b.Claim(claims[i].Customer, claims[i].Message)
		if err != nil {
			return err
		}
		answers[i] = store.Claimed{Contact: r.ID, Birth: r.Birth}
	}
	return s.commitBook(b)
}

// commitBook writes what was changed in the book. It is not synced.
func (s *Store) commitBook(b *contacts.Book) error {
	if !b.Changed() {
		return nil
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := writeBook(b, batch); err != nil {
		return err
	}
	return s.commitBatch(batch)
}
