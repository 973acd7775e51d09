package contacts

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

const (
	waba   = "1020"
	number = "4917000000001"
	userID = "US.1"
)

var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// shelf is a Source, and what books write is kept in it.
type shelf struct {
	owners  map[string]Owner
	records map[uuid.UUID]Record
}

func newShelf() *shelf { return &shelf{map[string]Owner{}, map[uuid.UUID]Record{}} }

func (s *shelf) Owner(_, id string) (*Owner, error) {
	if o, ok := s.owners[id]; ok {
		return &o, nil
	}
	return nil, nil
}

func (s *shelf) Record(id uuid.UUID) (*Record, error) {
	r, ok := s.records[id]
	if !ok {
		return nil, nil
	}
	r.IDs = slices.Clone(r.IDs)
	return &r, nil
}

// use hands do a book and keeps what it changed.
func (s *shelf) use(t *testing.T, do func(*Book)) {
	t.Helper()
	b := NewBook(s, func() time.Time { return noon })
	do(b)
	err := b.Changes(func(_, id string, o *Owner) error {
		if delete(s.owners, id); o != nil {
			s.owners[id] = *o
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

// write claims and applies a message, and gives the type of its contact event.
func (s *shelf) write(t *testing.T, identity, wa, user, name string, minute int) (told *event.Event) {
	t.Helper()
	e := &event.Event{
		Identity: identity, Time: noon.Add(time.Duration(minute) * time.Minute),
		Customer: &event.Customer{WABA: waba, WaID: wa, UserID: user, Name: name, Writes: true},
	}
	s.use(t, func(b *Book) {
		r, err := b.Claim(e.Customer, identity)
		if err != nil {
			t.Fatal(err)
		}
		e.Customer.Contact, e.Customer.Born = r.ID, r.Birth == identity
	})
	s.use(t, func(b *Book) {
		var err error
		if told, err = b.Profile(e); err != nil {
			t.Fatal(err)
		}
	})
	return told
}

func kind(e *event.Event) string {
	if e == nil {
		return ""
	}
	return e.Type
}

func TestLife(t *testing.T) {
	s := newShelf()
	for _, step := range []struct {
		wa, user, name string
		minute         int
		want           string
	}{
		{number, "", "Ann", 1, event.ContactNew},
		{number, "", "Ann", 2, ""},
		{number, "", "Anna", 3, event.ContactUpdated},
		{number, "", "Old", 1, ""},
		{number, userID, "Anna", 4, ""},
		{"", userID, "Bea", 5, event.ContactUpdated},
		{"4917000000002", userID, "Bea", 6, event.ContactUpdated},
	} {
		got := s.write(t, "wamid."+step.name+step.wa+step.user+string(rune('0'+step.minute)), step.wa, step.user, step.name, step.minute)
		if kind(got) != step.want {
			t.Errorf("%+v: told %q", step, kind(got))
		}
	}
	if len(s.records) != 1 || len(s.owners) != 3 {
		t.Errorf("%d contacts under %d ids, want 1 under 3", len(s.records), len(s.owners))
	}
}

func TestClaimedApartIsMerged(t *testing.T) {
	s := newShelf()
	s.write(t, "wamid.1", number, "", "Ann", 1)
	s.write(t, "wamid.2", "", userID, "Ann", 2)
	if len(s.records) != 2 {
		t.Fatalf("%d contacts, want 2", len(s.records))
	}
	told := s.write(t, "wamid.3", number, userID, "Ann", 3)
	if kind(told) != event.ContactUpdated {
		t.Errorf("told %q", kind(told))
	}
	winner := event.ContactID(waba, number)
	if s.owners[number].Contact != winner || s.owners[userID].Contact != winner || len(s.records) != 1 {
		t.Errorf("owners %v, contacts %v", s.owners, s.records)
	}
}

func TestUnclaim(t *testing.T) {
	s := newShelf()
	e := &event.Event{Identity: "wamid.1", Customer: &event.Customer{WABA: waba, WaID: number, UserID: userID, Writes: true, Born: true}}
	claim := func(b *Book) {
		if _, err := b.Claim(e.Customer, e.Identity); err != nil {
			t.Fatal(err)
		}
	}
	unclaim := func(b *Book) {
		if err := b.Unclaim(e); err != nil {
			t.Fatal(err)
		}
	}
	s.use(t, claim)
	s.use(t, unclaim)
	if len(s.records) != 0 || len(s.owners) != 0 {
		t.Errorf("left: %v, %v", s.owners, s.records)
	}
	// One that a message took effect for stays.
	s.write(t, "wamid.1", number, userID, "Ann", 1)
	s.use(t, unclaim)
	if len(s.records) != 1 || len(s.owners) != 2 {
		t.Errorf("left: %v, %v", s.owners, s.records)
	}
}

// TestForgottenMeanwhile: a contact that went between claim and effect begins anew.
func TestForgottenMeanwhile(t *testing.T) {
	s := newShelf()
	e := &event.Event{Identity: "wamid.2", Time: noon, Customer: &event.Customer{WABA: waba, WaID: number, Writes: true}}
	s.use(t, func(b *Book) {
		if told, err := b.Profile(e); err != nil || kind(told) != event.ContactNew {
			t.Errorf("told %q, %v", kind(told), err)
		}
	})
	if s.owners[number].Birth != "wamid.2" {
		t.Errorf("owners %v", s.owners)
	}
}

func TestAnswer(t *testing.T) {
	both := &event.Customer{WABA: waba, WaID: number, UserID: userID}
	moved := &event.Customer{WABA: waba, WaID: number, NewWaID: "2"}
	wa, user := &Owner{event.ContactID(waba, "a"), "wamid.a"}, &Owner{event.ContactID(waba, "b"), "wamid.b"}
	for _, tt := range []struct {
		name     string
		customer *event.Customer
		wa, user *Owner
		message  string
		want     store.Claimed
		answered bool
	}{
		{"nobody is known, a look-up", both, nil, nil, "", store.Claimed{Contact: both.Candidate()}, true},
		{"nobody is known", both, nil, nil, "m", store.Claimed{}, false},
		{"both are known: the number's", both, wa, user, "m", store.Claimed{Contact: wa.Contact, Birth: wa.Birth}, true},
		{"the user id alone, a look-up", both, nil, user, "", store.Claimed{Contact: user.Contact, Birth: user.Birth}, true},
		{"the user id alone", both, nil, user, "m", store.Claimed{}, false},
		{"a changed number", moved, wa, nil, "m", store.Claimed{}, false},
	} {
		if got, answered := Answer(tt.customer, tt.wa, tt.user, tt.message); got != tt.want || answered != tt.answered {
			t.Errorf("%s: %+v, %v", tt.name, got, answered)
		}
	}
}
