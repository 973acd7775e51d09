package contacts

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

func TestUnclaim(t *testing.T) {
	born := person(number, userID, "Ann", "")
	born.Born = true
	later, read := born, born
	later.Born, read.Writes = false, false
	for _, tt := range []struct {
		name    string
		updated time.Time
		e       *event.Event
		gone    bool
	}{
		{"claimed by the duplicate", time.Time{}, message("wamid.0", born, noon), true},
		{"updated by a message", minute(1), message("wamid.0", born, noon), false},
		{"claimed by another message", time.Time{}, message("wamid.1", born, noon), false},
		{"not born of it", time.Time{}, message("wamid.0", later, noon), false},
		{"not of a customer who writes", time.Time{}, message("wamid.0", read, noon), false},
		{"of no customer", time.Time{}, &event.Event{Identity: "wamid.0"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			left := []Record{record(byNumber, tt.updated, person(number, userID, "", ""), number, userID)}
			s := newShelf(left...)
			s.use(t, func(b *Book) error { return b.Unclaim(tt.e) })
			if tt.gone {
				left = nil
			}
			s.expect(t, left...)
		})
	}
}

// TestStrangersID: an id that another contact has by now is that one's, whatever
// becomes of those that had it.
func TestStrangersID(t *testing.T) {
	third := record(event.ContactID(waba, number2), minute(1), person(number2, "", "Bob", ""), number2)
	first := record(byNumber, minute(1), person(number, "", "Ann", ""), number)
	had := record(byUserID, minute(1), person("", userID, "Ann", ""), userID, number2)
	t.Run("removed", func(t *testing.T) {
		s := newShelf(had, third)
		s.use(t, func(b *Book) error {
			r, err := b.Record(had.ID)
			if err != nil {
				return err
			}
			return b.Remove(r)
		})
		s.expect(t, third)
	})
	t.Run("merged", func(t *testing.T) {
		s := newShelf(had, third, first)
		s.apply(t, message("wamid.1", person(number, userID, "Ann", ""), minute(2)))
		s.expect(t, third, record(byNumber, minute(2), person(number, userID, "Ann", ""), number, userID))
	})
	t.Run("moved to", func(t *testing.T) {
		s := newShelf(third, first)
		s.claim(t, message("wamid.1", moving(person(number, "", "Ann", ""), number2), minute(2)))
		s.expect(t, third, first)
	})
}

// TestAccountsApart: one number is one contact for each account.
func TestAccountsApart(t *testing.T) {
	ann := record(byNumber, minute(1), person(number, "", "Ann", ""), number)
	s := newShelf(ann)
	other := person(number, "", "", "")
	other.WABA = "2040"
	s.claim(t, message("wamid.0", other, noon))
	bob := record(event.ContactID("2040", number), time.Time{}, other, number)
	bob.WABA = "2040"
	s.expect(t, ann, bob)
}

// TestBookReadsOnce: a Book reads each key once, also where there is none, until
// it is cleared, and never for an id that is empty.
func TestBookReadsOnce(t *testing.T) {
	s := newShelf(record(byNumber, minute(1), person(number, "", "Ann", ""), number))
	b := s.book()
	look := func() {
		for range 2 {
			for id, want := range map[string]uuid.UUID{number: byNumber, userID: uuid.Nil, "": uuid.Nil} {
				r, err := b.Of(waba, id)
				if err != nil || (r != nil) != (want != uuid.Nil) || r != nil && r.ID != want {
					t.Errorf("contact of %q: %v, %v", id, r, err)
				}
			}
			if r, err := b.Record(byUserID); r != nil || err != nil {
				t.Errorf("contact that is not there: %v, %v", r, err)
			}
		}
		slices.Sort(s.reads)
		want := []string{number, userID, byNumber.String(), byUserID.String()}
		if slices.Sort(want); !slices.Equal(s.reads, want) {
			t.Errorf("read %q, want %q", s.reads, want)
		}
	}
	look()
	b.Clear()
	s.reads = nil
	look()
}

func TestBookChanged(t *testing.T) {
	b := newShelf().book()
	c := person(number, "", "Ann", "")
	if _, err := b.Of(waba, number); err != nil || b.Changed() {
		t.Errorf("changed by a look: %v, %v", b.Changed(), err)
	}
	if _, err := b.Claim(&c, "wamid.1"); err != nil || !b.Changed() {
		t.Errorf("not changed by a claim: %v", err)
	}
	// It sees what it changed.
	if r, err := b.Of(waba, number); err != nil || r == nil || r.Birth != "wamid.1" {
		t.Errorf("contact %v, %v", r, err)
	}
	keepOwner, keepRecord := func(string, string, *Owner) error { return nil }, func(uuid.UUID, *Record) error { return nil }
	if err := b.Changes(func(string, string, *Owner) error { return errBroken }, keepRecord); !errors.Is(err, errBroken) {
		t.Errorf("an owner that was not written: %v", err)
	}
	if err := b.Changes(keepOwner, func(uuid.UUID, *Record) error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("a contact that was not written: %v", err)
	}
	b.Clear()
	if r, err := b.Of(waba, number); r != nil || err != nil || b.Changed() {
		t.Errorf("cleared: contact %v, %v, changed %v", r, err, b.Changed())
	}
}

// TestBrokenSource: whichever read fails, its error is told.
func TestBrokenSource(t *testing.T) {
	both := person(number, userID, "Ann", "")
	both.Born = true
	e := message("wamid.0", moving(both, number2), minute(2))
	for name, do := range map[string]func(*Book) error{
		"of":      func(b *Book) error { _, err := b.Of(waba, number); return err },
		"claim":   func(b *Book) error { _, err := b.Claim(e.Customer, e.Identity); return err },
		"profile": func(b *Book) error { _, err := b.Profile(e); return err },
		"unclaim": func(b *Book) error { return b.Unclaim(e) },
	} {
		t.Run(name, func(t *testing.T) {
			for failAt := 1; ; failAt++ {
				s := newShelf(
					record(byNumber, time.Time{}, person(number, "", "Ann", ""), number),
					record(byUserID, minute(1), person("", userID, "Ann", ""), userID, "US.0"))
				s.failAt = failAt
				err := do(s.book())
				if len(s.reads) < failAt {
					if err != nil || failAt == 1 {
						t.Errorf("nothing failed in %d reads: %v", len(s.reads), err)
					}
					return
				}
				if !errors.Is(err, errBroken) {
					t.Errorf("read %d failed: %v", failAt, err)
				}
			}
		})
	}
}

// TestOwnerOfNobody: an id whose contact is not there is an error, not a stranger.
func TestOwnerOfNobody(t *testing.T) {
	s := newShelf(record(byNumber, noon, person(number, "", "Ann", ""), number))
	delete(s.records, byNumber)
	c := person(number, "", "Ann", "")
	if _, err := s.book().Claim(&c, "wamid.1"); !errors.Is(err, errNoRecord) {
		t.Errorf("claim: %v", err)
	}
}

func TestAnswer(t *testing.T) {
	both, waOnly := person(number, userID, "", ""), person(number, "", "", "")
	userOnly, moved := person("", userID, "", ""), moving(waOnly, number2)
	wa, user := &Owner{byNumber, "wamid.a"}, &Owner{byUserID, "wamid.b"}
	ofWa, ofUser := store.Claimed{Contact: byNumber, Birth: "wamid.a"}, store.Claimed{Contact: byUserID, Birth: "wamid.b"}
	for _, tt := range []struct {
		name     string
		customer event.Customer
		wa, user *Owner
		message  string
		want     store.Claimed
		answered bool
	}{
		{"nobody is known, a look-up", both, nil, nil, "", store.Claimed{Contact: byNumber}, true},
		{"nobody is known by user id, a look-up", userOnly, nil, nil, "", store.Claimed{Contact: byUserID}, true},
		{"nobody is known", both, nil, nil, "m", store.Claimed{}, false},
		{"both are known: the number's", both, wa, user, "m", ofWa, true},
		{"both are known, a look-up", both, wa, user, "", ofWa, true},
		{"all there is, a number", waOnly, wa, nil, "m", ofWa, true},
		{"all there is, a user id", userOnly, nil, user, "m", ofUser, true},
		{"the number alone, a look-up", both, wa, nil, "", ofWa, true},
		{"the number alone", both, wa, nil, "m", store.Claimed{}, false},
		{"the user id alone, a look-up", both, nil, user, "", ofUser, true},
		{"the user id alone", both, nil, user, "m", store.Claimed{}, false},
		{"a changed number, a look-up", moved, wa, nil, "", ofWa, true},
		{"a changed number", moved, wa, nil, "m", store.Claimed{}, false},
	} {
		if got, answered := Answer(&tt.customer, tt.wa, tt.user, tt.message); got != tt.want || answered != tt.answered {
			t.Errorf("%s: %+v, %v", tt.name, got, answered)
		}
	}
}
