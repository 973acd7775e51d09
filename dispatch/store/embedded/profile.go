package embedded

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
)

// profile brings the contact of a message up to date in the book, and returns
// the contact event that goes before the message, nil for none.
//
// Claims are answered before they are applied, and two partitions may know one
// customer by different ids: so the owner is looked up again here, under the
// lock, rather than believed.
func (s *Store) profile(b *book, e *event.Event) (*event.Event, error) {
	c := e.Customer
	r, previous, err := s.resolve(b, c)
	if err != nil {
		return nil, err
	}
	// A contact that was merged into another is not born any more.
	born := c.Born && r != nil && r.Birth == e.Identity
	if r == nil {
		// Forgotten or expired since it was claimed: it begins anew.
		if r, err = s.claim(b, c, e.Identity); err != nil {
			return nil, err
		}
		born = true
	}
	at := e.Time
	if at.IsZero() {
		at = e.Received
	}
	changed := previous.changed
	if !at.Before(r.Updated) {
		for _, field := range r.learn(c, at) {
			if !slices.Contains(changed, field) {
				changed = append(changed, field)
			}
		}
	}
	r.touched = s.cfg.Now()
	b.save(r)
	change := event.ContactChange{
		ID: r.ID, WABA: r.WABA, WaID: r.WaID, UserID: r.UserID, Name: r.Name, Username: r.Username,
		Previous: previous.id,
	}
	switch {
	case born:
		change.Previous = uuid.Nil
	case len(changed) > 0 || previous.id != uuid.Nil:
		slices.Sort(changed)
		change.Changed = append([]string{}, changed...)
	default:
		return nil, nil
	}
	out, err := change.Event(e)
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// learn takes over what a message that is not older says of the profile, and
// names what changed.
func (r *record) learn(c *event.Customer, at time.Time) (changed []string) {
	number := c.NewWaID
	if number == "" {
		number = c.WaID
	}
	for _, f := range [...]struct {
		name string
		old  *string
		new  string
	}{
		{event.ChangedName, &r.Name, c.Name},
		{event.ChangedUsername, &r.Username, c.Username},
		{event.ChangedWaID, &r.WaID, number},
	} {
		if f.new != "" && f.new != *f.old {
			*f.old = f.new
			changed = append(changed, f.name)
		}
	}
	if c.UserID != "" {
		r.UserID = c.UserID
	}
	r.Updated = at
	return changed
}

// before is what a contact was before it was merged into another.
type before struct {
	id      uuid.UUID
	changed []string
}

// resolve gives the contact of a customer; nil for none. Where the wa_id and the
// user_id were claimed apart, the user_id's contact becomes the wa_id's.
func (s *Store) resolve(b *book, c *event.Customer) (*record, before, error) {
	r, err := s.known(b, c)
	if err != nil || r == nil || c.WaID == "" || c.UserID == "" {
		return r, before{}, err
	}
	other, err := b.owner(c.WABA, c.UserID)
	if err != nil || other == nil || other.contact == r.ID {
		return r, before{}, err
	}
	loser, err := b.record(other.contact)
	if err != nil || loser == nil {
		return r, before{}, err
	}
	changed, err := b.merge(r, loser)
	return r, before{id: loser.ID, changed: changed}, err
}

// merge makes loser a part of r: its ids, its profile where that is the newer,
// and what r does not know. It names what a reader of loser sees change.
func (b *book) merge(r, loser *record) (changed []string, err error) {
	newer, older := r.Contact, loser.Contact
	if older.Updated.After(newer.Updated) {
		newer, older = older, newer
	}
	r.Updated = newer.Updated
	for _, f := range [...]struct {
		name         string
		to           *string
		newer, older string
		was          string
	}{
		{event.ChangedName, &r.Name, newer.Name, older.Name, loser.Name},
		{event.ChangedUsername, &r.Username, newer.Username, older.Username, loser.Username},
		{event.ChangedWaID, &r.WaID, newer.WaID, older.WaID, loser.WaID},
		{"", &r.UserID, newer.UserID, older.UserID, ""},
	} {
		*f.to = f.newer
		if *f.to == "" {
			*f.to = f.older
		}
		if f.name != "" && *f.to != f.was {
			changed = append(changed, f.name)
		}
	}
	ids := slices.Clone(loser.ids)
	if err := b.remove(loser); err != nil {
		return nil, err
	}
	b.save(r)
	for _, id := range ids {
		o, err := b.owner(loser.WABA, id)
		if err != nil {
			return nil, err
		}
		if o == nil {
			b.setOwner(id, r)
		}
	}
	return changed, nil
}
