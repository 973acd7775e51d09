// Package contacts is the arithmetic of who a customer is: which contact an id
// belongs to, what a message says of its profile, and when two contacts turn out
// to be one. It keeps nothing: a store reads what a Book asks for, and writes what
// the Book says has changed.
package contacts

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// Owner is the contact that an id, a wa_id or a user_id, belongs to.
type Owner struct {
	Contact uuid.UUID
	// Birth is the identity of the message that gave birth to it.
	Birth string
}

// Record is a contact as a store keeps it.
type Record struct {
	store.Contact
	// Touched is when a message of the contact was last claimed or applied, by
	// the store's clock: what its time to live counts from.
	Touched time.Time
	// IDs are all it is known under, or was before it was merged.
	IDs []string
}

func (r *Record) addID(id string) {
	if !slices.Contains(r.IDs, id) {
		r.IDs = append(r.IDs, id)
	}
}

// Source is what a Book reads from. Both give nil for none.
type Source interface {
	Owner(waba, id string) (*Owner, error)
	Record(id uuid.UUID) (*Record, error)
}

// errNoRecord: an id has an owner that is not there.
var errNoRecord = errors.New("the contact is not there")

type ownerKey struct{ waba, id string }

// Book reads contacts, each once, and keeps what is changed. It sees its own
// changes. From the first read until the changes are written nobody else may
// change them, or the writing has to find that out.
type Book struct {
	source  Source
	now     func() time.Time
	owners  map[ownerKey]*Owner   // nil: none, or deleted
	records map[uuid.UUID]*Record // likewise
	dirty   map[ownerKey]struct{}
	touched map[uuid.UUID]struct{}
}

// NewBook makes an empty book.
func NewBook(source Source, now func() time.Time) *Book {
	return &Book{
		source: source, now: now,
		owners: make(map[ownerKey]*Owner), records: make(map[uuid.UUID]*Record),
		dirty: make(map[ownerKey]struct{}), touched: make(map[uuid.UUID]struct{}),
	}
}

// Clear makes the book as new.
func (b *Book) Clear() {
	clear(b.owners)
	clear(b.records)
	clear(b.dirty)
	clear(b.touched)
}

// Changed reports whether there is anything to write.
func (b *Book) Changed() bool { return len(b.dirty)+len(b.touched) > 0 }

// Changes calls owner for each owner that changed and record for each record, nil
// where it was deleted.
func (b *Book) Changes(owner func(waba, id string, o *Owner) error, record func(id uuid.UUID, r *Record) error) error {
	for k := range b.dirty {
		if err := owner(k.waba, k.id, b.owners[k]); err != nil {
			return err
		}
	}
	for id := range b.touched {
		if err := record(id, b.records[id]); err != nil {
			return err
		}
	}
	return nil
}

// Owner gives the contact that the id belongs to, nil for none or no id.
func (b *Book) Owner(waba, id string) (*Owner, error) {
	if id == "" {
		return nil, nil
	}
	k := ownerKey{waba, id}
	if o, ok := b.owners[k]; ok {
		return o, nil
	}
	o, err := b.source.Owner(waba, id)
	if err != nil {
		return nil, err
	}
	b.owners[k] = o
	return o, nil
}

// Of gives the contact known under the id, nil for none.
func (b *Book) Of(waba, id string) (*Record, error) {
	o, err := b.Owner(waba, id)
	if err != nil || o == nil {
		return nil, err
	}
	return b.Record(o.Contact)
}

// Record gives a contact, nil where there is none.
func (b *Book) Record(id uuid.UUID) (*Record, error) {
	if r, ok := b.records[id]; ok {
		return r, nil
	}
	r, err := b.source.Record(id)
	if err != nil {
		return nil, err
	}
	b.records[id] = r
	return r, nil
}

// save keeps a record as it is now.
func (b *Book) save(r *Record) {
	b.records[r.ID] = r
	b.touched[r.ID] = struct{}{}
}

// setOwner gives an id to a record.
func (b *Book) setOwner(id string, r *Record) {
	r.addID(id)
	k := ownerKey{r.WABA, id}
	b.owners[k] = &Owner{Contact: r.ID, Birth: r.Birth}
	b.dirty[k] = struct{}{}
	b.touched[r.ID] = struct{}{}
}

// Remove deletes a record, and with it the ids that still name it.
func (b *Book) Remove(r *Record) error {
	for _, id := range r.IDs {
		o, err := b.Owner(r.WABA, id)
		if err != nil {
			return err
		}
		if o != nil && o.Contact == r.ID {
			k := ownerKey{r.WABA, id}
			b.owners[k] = nil
			b.dirty[k] = struct{}{}
		}
	}
	b.records[r.ID] = nil
	b.touched[r.ID] = struct{}{}
	return nil
}

// Answer answers a claim by the owners of the customer's wa_id and user_id, nil
// for none. It is false where an id is to be claimed. A changed number is left to
// be claimed.
func Answer(c *event.Customer, wa, user *Owner, message string) (store.Claimed, bool) {
	known := wa
	if known == nil {
		known = user
	}
	switch {
	case message == "" && known == nil:
		return store.Claimed{Contact: c.Candidate()}, true
	case message == "" || known != nil && c.NewWaID == "" && (c.WaID == "" || wa != nil) && (c.UserID == "" || user != nil):
		return store.Claimed{Contact: known.Contact, Birth: known.Birth}, true
	}
	return store.Claimed{}, false
}

// Claim gives each id of the customer an owner, and returns the contact: that of
// the wa_id, else that of the user_id, else a new one.
func (b *Book) Claim(c *event.Customer, message string) (*Record, error) {
	r, err := b.known(c)
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = newRecord(c, c.Candidate(), message)
	}
	for _, id := range [...]string{c.WaID, c.UserID, c.NewWaID} {
		o, err := b.Owner(c.WABA, id)
		if err != nil {
			return nil, err
		}
		if id != "" && o == nil {
			r.Touched = b.now()
			b.save(r)
			b.setOwner(id, r)
		}
	}
	return r, nil
}

// known gives the contact that owns the wa_id, else the user_id, nil for none.
func (b *Book) known(c *event.Customer) (*Record, error) {
	for _, id := range [...]string{c.WaID, c.UserID} {
		o, err := b.Owner(c.WABA, id)
		if err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		r, err := b.Record(o.Contact)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, fmt.Errorf("read contact of a known id: %w", errNoRecord)
		}
		return r, nil
	}
	return nil, nil
}

// Unclaim takes back what a duplicate has claimed: a message that was seen, of a
// customer who was forgotten since, gives birth to nobody. The contact it was
// claimed for has never been updated.
func (b *Book) Unclaim(e *event.Event) error {
	if !e.IsWriter() || !e.Customer.Born {
		return nil
	}
	r, err := b.known(e.Customer)
	if err != nil || r == nil || r.Birth != e.Identity || !r.Updated.IsZero() {
		return err
	}
	return b.Remove(r)
}

func newRecord(c *event.Customer, id uuid.UUID, birth string) *Record {
	return &Record{Contact: store.Contact{ID: id, WABA: c.WABA, WaID: c.WaID, UserID: c.UserID, Birth: birth}}
}

// Profile brings the contact of a message up to date in the book, and returns
// the contact event that goes before the message, nil for none.
//
// Claims are answered before they are applied, and two partitions may know one
// customer by different ids: so the owner is looked up again here, rather than
// believed.
func (b *Book) Profile(e *event.Event) (*event.Event, error) {
	c := e.Customer
	r, previous, err := b.resolve(c)
	if err != nil {
		return nil, err
	}
	// A contact that was merged into another is not born any more.
	born := c.Born && r != nil && r.Birth == e.Identity
	if r == nil {
		// Forgotten or expired since it was claimed: it begins anew.
		if r, err = b.Claim(c, e.Identity); err != nil {
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
	r.Touched = b.now()
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
func (r *Record) learn(c *event.Customer, at time.Time) (changed []string) {
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
func (b *Book) resolve(c *event.Customer) (*Record, before, error) {
	r, err := b.known(c)
	if err != nil || r == nil || c.WaID == "" || c.UserID == "" {
		return r, before{}, err
	}
	other, err := b.Owner(c.WABA, c.UserID)
	if err != nil || other == nil || other.Contact == r.ID {
		return r, before{}, err
	}
	loser, err := b.Record(other.Contact)
	if err != nil || loser == nil {
		return r, before{}, err
	}
	changed, err := b.merge(r, loser)
	return r, before{id: loser.ID, changed: changed}, err
}

// merge makes loser a part of r: its ids, its profile where that is the newer,
// and what r does not know. It names what a reader of loser sees change.
func (b *Book) merge(r, loser *Record) (changed []string, err error) {
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
	ids := slices.Clone(loser.IDs)
	if err := b.Remove(loser); err != nil {
		return nil, err
	}
	b.save(r)
	for _, id := range ids {
		o, err := b.Owner(loser.WABA, id)
		if err != nil {
			return nil, err
		}
		if o == nil {
			b.setOwner(id, r)
		}
	}
	return changed, nil
}
