package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
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
		known := wa
		if known == nil {
			known = user
		}
		switch {
		case claims[i].Message == "" && known == nil:
			answers[i] = store.Claimed{Contact: c.Candidate()}
		case claims[i].Message == "" || allKnown(c, wa, user):
			answers[i] = store.Claimed{Contact: known.contact, Birth: known.birth}
		default:
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// allKnown reports that each id of the customer has an owner. A changed number
// is left to be claimed.
func allKnown(c *event.Customer, wa, user *owner) bool {
	return (c.WaID == "" || wa != nil) && (c.UserID == "" || user != nil) && c.NewWaID == "" &&
		(wa != nil || user != nil)
}

func ownerOf(owners *lookup, waba, id string) (*owner, error) {
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
	b := newBook(s.db)
	for _, i := range missing {
		r, err := s.claim(b, claims[i].Customer, claims[i].Message)
		if err != nil {
			return err
		}
		answers[i] = store.Claimed{Contact: r.ID, Birth: r.Birth}
	}
	return s.commitBook(b)
}

// commitBook writes what was changed in the book. It is not synced.
func (s *Store) commitBook(b *book) error {
	if !b.changed() {
		return nil
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := b.write(batch); err != nil {
		return err
	}
	return s.commitBatch(batch)
}

// claim gives each id of the customer an owner, and returns the contact: that of
// the wa_id, else that of the user_id, else a new one.
func (s *Store) claim(b *book, c *event.Customer, message string) (*record, error) {
	r, err := s.known(b, c)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = newRecord(c, c.Candidate(), message)
	}
	for _, id := range [...]string{c.WaID, c.UserID, c.NewWaID} {
		o, err := b.owner(c.WABA, id)
		if err != nil {
			return nil, err
		}
		if id != "" && o == nil {
			r.touched = s.cfg.Now()
			b.save(r)
			b.setOwner(id, r)
		}
	}
	return r, nil
}

// known gives the contact that owns the wa_id, else the user_id, nil for none.
func (s *Store) known(b *book, c *event.Customer) (*record, error) {
	for _, id := range [...]string{c.WaID, c.UserID} {
		o, err := b.owner(c.WABA, id)
		if err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		r, err := b.record(o.contact)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, fmt.Errorf("read contact of a known id: %w", errMalformed)
		}
		return r, nil
	}
	return nil, nil
}

// unclaim takes back what a duplicate has claimed: a message that was seen, of a
// customer who was forgotten since, gives birth to nobody. The contact it was
// claimed for has never been updated.
func (s *Store) unclaim(b *book, e *event.Event) error {
	if !isWriter(e) || !e.Customer.Born {
		return nil
	}
	r, err := s.known(b, e.Customer)
	if err != nil || r == nil || r.Birth != e.Identity || !r.Updated.IsZero() {
		return err
	}
	return b.remove(r)
}

func newRecord(c *event.Customer, id uuid.UUID, birth string) *record {
	return &record{Contact: store.Contact{ID: id, WABA: c.WABA, WaID: c.WaID, UserID: c.UserID, Birth: birth}}
}
