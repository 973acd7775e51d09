package contacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

const (
	waba    = "1020"
	number  = "4917000000001"
	number2 = "4917000000002"
	userID  = "US.1"
)

var (
	noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

	byNumber = event.ContactID(waba, number)
	byUserID = event.ContactID(waba, userID)
)

func minute(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

// shelf is a Source, and what books write is kept in it.
type shelf struct {
	owners  map[ownerKey]Owner
	records map[uuid.UUID]Record
	// now is the clock of its books.
	now time.Time
	// reads are the ids and contacts that were read.
	reads []string
	// failAt counts down; the read that brings it to 0 fails with errBroken.
	failAt int
}

var errBroken = errors.New("broken")

// newShelf keeps the records under all their ids.
func newShelf(records ...Record) *shelf {
	s := &shelf{owners: map[ownerKey]Owner{}, records: map[uuid.UUID]Record{}, now: noon}
	for _, r := range records {
		s.records[r.ID] = r
		for _, id := range r.IDs {
			s.owners[ownerKey{r.WABA, id}] = Owner{Contact: r.ID, Birth: r.Birth}
		}
	}
	return s
}

func (s *shelf) read(what string) error {
	s.reads = append(s.reads, what)
	if s.failAt--; s.failAt == 0 {
		return errBroken
	}
	return nil
}

func (s *shelf) Owner(waba, id string) (*Owner, error) {
	if err := s.read(id); err != nil {
		return nil, err
	}
	if o, ok := s.owners[ownerKey{waba, id}]; ok {
		return &o, nil
	}
	return nil, nil
}

func (s *shelf) Record(id uuid.UUID) (*Record, error) {
	if err := s.read(id.String()); err != nil {
		return nil, err
	}
	r, ok := s.records[id]
	if !ok {
		return nil, nil
	}
	r.IDs = slices.Clone(r.IDs)
	return &r, nil
}

func (s *shelf) book() *Book { return NewBook(s, func() time.Time { return s.now }) }

// use hands do a book and keeps what it changed.
func (s *shelf) use(t *testing.T, do func(*Book) error) {
	t.Helper()
	b := s.book()
	if err := do(b); err != nil {
		t.Fatal(err)
	}
	err := b.Changes(func(waba, id string, o *Owner) error {
		k := ownerKey{waba, id}
		if delete(s.owners, k); o != nil {
			s.owners[k] = *o
		}
		return nil
	}, func(id uuid.UUID, r *Record) error {
		if delete(s.records, id); r != nil {
			s.records[id] = *r
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// claim claims the contact of a message.
func (s *shelf) claim(t *testing.T, e *event.Event) {
	t.Helper()
	s.use(t, func(b *Book) error {
		r, err := b.Claim(e.Customer, e.Identity)
		if err == nil {
			e.Customer.Contact, e.Customer.Born = r.ID, r.Birth == e.Identity
		}
		return err
	})
}

// apply applies a message, and returns what is told.
func (s *shelf) apply(t *testing.T, e *event.Event) (told string) {
	t.Helper()
	s.use(t, func(b *Book) error {
		c, err := b.Profile(e)
		told = tell(t, c)
		return err
	})
	return told
}

// tell is a contact event in short: its type, what changed, and the id before.
func tell(t *testing.T, e *event.Event) string {
	t.Helper()
	if e == nil {
		return ""
	}
	var payload struct {
		Changed  []string  `json:"changed"`
		Previous uuid.UUID `json:"previous_id"`
	}
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	told := e.Type
	if e.Type == event.ContactUpdated {
		told += fmt.Sprint(" ", payload.Changed)
	}
	if payload.Previous != uuid.Nil {
		told += " was " + payload.Previous.String()
	}
	return told
}

// expect holds all that is kept to the records, each under all its ids.
func (s *shelf) expect(t *testing.T, records ...Record) {
	t.Helper()
	want := newShelf(records...)
	if !maps.Equal(s.owners, want.owners) {
		t.Errorf("owners\n%v, want\n%v", s.owners, want.owners)
	}
	if !reflect.DeepEqual(s.records, want.records) {
		t.Errorf("contacts\n%+v, want\n%+v", s.records, want.records)
	}
}

// person is who writes, with a profile.
func person(wa, user, name, username string) event.Customer {
	return event.Customer{WABA: waba, WaID: wa, UserID: user, Name: name, Username: username, Writes: true}
}

// moving is a customer who tells of a new number.
func moving(c event.Customer, wa string) event.Customer {
	c.NewWaID = wa
	return c
}

func message(identity string, c event.Customer, at time.Time) *event.Event {
	return &event.Event{Identity: identity, Time: at, Customer: &c}
}

// record is a contact born of wamid.0, last touched at noon.
func record(id uuid.UUID, updated time.Time, c event.Customer, ids ...string) Record {
	return Record{
		Contact: store.Contact{
			ID: id, WABA: waba, WaID: c.WaID, UserID: c.UserID, Name: c.Name, Username: c.Username,
			Birth: "wamid.0", Updated: updated,
		},
		Touched: noon, IDs: ids,
	}
}

// lives are messages, claimed and applied one after the other, and what is kept
// in the end. The messages are wamid.FIRST and those that follow.
var lives = []struct {
	name  string
	known []Record
	first int
	steps []step
	want  []Record
}{
	{
		name: "a profile",
		steps: []step{
			{person(number, "", "Ann", ""), 1, "contact:new"},
			{person(number, "", "Ann", ""), 2, ""},
			{person(number, "", "", ""), 3, ""},
			{person(number, "", "Anna", ""), 4, "contact:updated [name]"},
			{person(number, "", "Old", "old"), 3, ""},
			{person(number, userID, "Anna", "ann"), 5, "contact:updated [username]"},
			{person("", userID, "A", "a"), 6, "contact:updated [name username]"},
			{person("", userID, "B", "a"), 6, "contact:updated [name]"},
		},
		want: []Record{record(byNumber, minute(6), person(number, userID, "B", "a"), number, userID)},
	}, {
		name: "a number learned",
		steps: []step{
			{person("", userID, "Ann", ""), 1, "contact:new"},
			{person(number, userID, "Ann", ""), 2, "contact:updated [wa_id]"},
			{person(number, "", "Ann", ""), 3, ""},
		},
		want: []Record{record(byUserID, minute(3), person(number, userID, "Ann", ""), userID, number)},
	}, {
		name: "a number changed",
		steps: []step{
			{person(number, userID, "Ann", ""), 1, "contact:new"},
			{moving(person(number, userID, "Ann", ""), number2), 2, "contact:updated [wa_id]"},
			{person(number2, "", "Ann", ""), 3, ""},
		},
		want: []Record{record(byNumber, minute(3), person(number2, userID, "Ann", ""), number, userID, number2)},
	}, {
		name: "a number changed by a stranger",
		steps: []step{
			{moving(person(number, "", "", ""), number2), 1, "contact:new"},
			{person(number2, "", "Ann", ""), 2, "contact:updated [name]"},
		},
		want: []Record{record(byNumber, minute(2), person(number2, "", "Ann", ""), number, number2)},
	}, {
		name: "apart, the user id's is newer than the message",
		known: []Record{
			record(byNumber, minute(1), person(number, "", "Ann", ""), number),
			record(byUserID, minute(5), person("", userID, "Bea", "bea"), userID),
		},
		first: 1,
		steps: []step{{person(number, userID, "Old", "old"), 3, "contact:updated [wa_id] was " + byUserID.String()}},
		want:  []Record{record(byNumber, minute(5), person(number, userID, "Bea", "bea"), number, userID)},
	}, {
		name: "apart, the number's is newer than the message, but does not know all",
		known: []Record{
			record(byNumber, minute(5), person(number, "", "Ann", ""), number),
			record(byUserID, minute(1), person("", userID, "Bea", "bea"), userID),
		},
		first: 1,
		steps: []step{{person(number, userID, "Old", "old"), 3, "contact:updated [name wa_id] was " + byUserID.String()}},
		want:  []Record{record(byNumber, minute(5), person(number, userID, "Ann", "bea"), number, userID)},
	}, {
		name: "apart, and the message is the newest",
		known: []Record{
			record(byNumber, minute(2), person(number, "", "Ann", ""), number),
			record(byUserID, minute(1), person("", userID, "Bea", ""), userID),
		},
		first: 1,
		steps: []step{
			{person(number, userID, "Anna", "anna"), 3, "contact:updated [name username wa_id] was " + byUserID.String()},
			{person("", userID, "Anna", "anna"), 4, ""},
		},
		want: []Record{record(byNumber, minute(4), person(number, userID, "Anna", "anna"), number, userID)},
	}, {
		name: "apart, and nothing but the id is another",
		known: []Record{
			record(byNumber, minute(1), person(number, "", "Ann", ""), number),
			record(byUserID, minute(2), person(number, userID, "Ann", ""), userID),
		},
		first: 1,
		steps: []step{{person(number, userID, "Ann", ""), 3, "contact:updated [] was " + byUserID.String()}},
		want:  []Record{record(byNumber, minute(3), person(number, userID, "Ann", ""), number, userID)},
	}, {
		// A claim that was cut short leaves the message's own ids apart.
		name: "apart, and born of the message",
		known: []Record{
			record(byNumber, time.Time{}, person(number, "", "", ""), number),
			record(byUserID, minute(1), person("", userID, "Ann", ""), userID),
		},
		steps: []step{{person(number, userID, "Ann", ""), 2, "contact:new"}},
		want:  []Record{record(byNumber, minute(2), person(number, userID, "Ann", ""), number, userID)},
	},
}

type step struct {
	customer event.Customer
	minute   int
	told     string
}

func TestLives(t *testing.T) {
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			s := newShelf(life.known...)
			for i, step := range life.steps {
				e := message(fmt.Sprint("wamid.", life.first+i), step.customer, minute(step.minute))
				s.claim(t, e)
				if told := s.apply(t, e); told != step.told {
					t.Errorf("step %d told %q, want %q", i, told, step.told)
				}
			}
			s.expect(t, life.want...)
		})
	}
}

// TestTouched: claims of new ids and messages keep a contact from expiring.
func TestTouched(t *testing.T) {
	s := newShelf()
	want := record(byNumber, time.Time{}, person(number, "", "", ""), number)
	e := message("wamid.0", person(number, "", "Ann", ""), time.Time{})
	s.claim(t, e)
	s.expect(t, want)
	// A message without a time counts from when it was received.
	s.now, e.Received = minute(9), minute(3)
	s.apply(t, e)
	want.Name, want.Updated, want.Touched = "Ann", minute(3), minute(9)
	s.expect(t, want)
	s.now = minute(10)
	s.claim(t, message("wamid.1", person(number, "", "", ""), minute(4)))
	s.expect(t, want) // nothing to write
}

// TestClaimCutShort: an id that a contact names but does not own is given to it.
func TestClaimCutShort(t *testing.T) {
	ann := record(byNumber, minute(1), person(number, userID, "Ann", ""), number, userID)
	s := newShelf(ann)
	delete(s.owners, ownerKey{waba, userID})
	s.claim(t, message("wamid.1", person(number, userID, "Ann", ""), minute(2)))
	s.expect(t, ann)
}

// TestMergedBeforeItWasBorn: who was merged before the message that gave birth to
// them took effect is not born any more.
func TestMergedBeforeItWasBorn(t *testing.T) {
	s := newShelf(record(byNumber, minute(1), person(number, "", "Ann", ""), number))
	late, both := message("wamid.1", person("", userID, "Ann", ""), minute(2)), message("wamid.2", person(number, userID, "Ann", ""), minute(3))
	s.claim(t, late)
	s.claim(t, both)
	if told, want := s.apply(t, both), "contact:updated [name wa_id] was "+byUserID.String(); told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if told := s.apply(t, late); told != "" {
		t.Errorf("a contact was born twice: told %q", told)
	}
}

// TestForgottenMeanwhile: a contact that went between claim and effect begins anew.
func TestForgottenMeanwhile(t *testing.T) {
	s := newShelf(record(byNumber, minute(1), person(number, userID, "Ann", "ann"), number, userID))
	e := message("wamid.1", person(number, userID, "Anna", ""), minute(2))
	s.claim(t, e)
	s.use(t, func(b *Book) error {
		r, err := b.Of(waba, userID)
		if err != nil {
			return err
		}
		return b.Remove(r)
	})
	s.expect(t)
	if told := s.apply(t, e); told != "contact:new" {
		t.Errorf("told %q", told)
	}
	want := record(byNumber, minute(2), person(number, userID, "Anna", ""), number, userID)
	want.Birth = "wamid.1"
	s.expect(t, want)
}
