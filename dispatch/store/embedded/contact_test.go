package embedded

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// claimedMessage is a message of the customer's, its contact claimed.
func claimedMessage(t *testing.T, s *Store, wamid, waID, userID string) event.Event {
	t.Helper()
	c := &event.Customer{WABA: "1", WaID: waID, UserID: userID, Name: "Ann", Writes: true}
	c.Contact = c.Candidate()
	e := event.Event{
		Type: event.MessageNew, Identity: wamid, Key: c.Primary(), Customer: c, Time: time.Now(), Received: time.Now(),
		Payload: append(event.AppendContact(nil, c.Contact), '}'),
	}
	claimed, err := s.Claim(t.Context(), []store.Claim{{Customer: c, Message: wamid}})
	if err != nil {
		t.Fatal(err)
	}
	e.SetContact(claimed[0].Contact)
	c.Born = claimed[0].Birth == wamid
	return e
}

// applyTo applies one event to a partition, as record seq.
func applyTo(t *testing.T, s *Store, partition int, seq uint64, e event.Event) store.Result {
	t.Helper()
	b := plainBatch(partition, seq-1, seq, 0)
	b.Events = append(b.Events, e)
	r, err := s.Apply(t.Context(), b)
	if err != nil || !r.Applied {
		t.Fatalf("applied %v: %v", r.Applied, err)
	}
	return r
}

// TestMergedBeforeItWasBorn: the message that would have given birth to a contact
// comes when that is a part of another already.
func TestMergedBeforeItWasBorn(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	first := claimedMessage(t, s, "wamid.1", "49", "")
	late := claimedMessage(t, s, "wamid.2", "", "US.1")
	both := claimedMessage(t, s, "wamid.3", "49", "US.1")
	if r := applyTo(t, s, 1, 1, first); r.ContactsNew != 1 {
		t.Errorf("first: %+v", r)
	}
	if r := applyTo(t, s, 2, 1, both); r.ContactsNew != 0 || r.ContactsUpdated != 1 {
		t.Errorf("both: %+v", r)
	}
	if r := applyTo(t, s, 2, 2, late); r.ContactsNew != 0 {
		t.Errorf("a contact was born twice: %+v", r)
	}
}

// TestForgottenBeforeItWasApplied: a contact that goes between claim and Apply
// begins anew.
func TestForgottenBeforeItWasApplied(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	applyTo(t, s, 1, 1, claimedMessage(t, s, "wamid.1", "49", ""))
	second := claimedMessage(t, s, "wamid.2", "49", "")
	if _, err := s.Forget(t.Context(), "1", "49"); err != nil {
		t.Fatal(err)
	}
	if r := applyTo(t, s, 1, 2, second); r.ContactsNew != 1 {
		t.Errorf("not born again: %+v", r)
	}
	c, err := s.Contact(t.Context(), "1", "49")
	if err != nil || c.Birth != "wamid.2" || c.Name != "Ann" {
		t.Errorf("contact %+v, %v", c, err)
	}
}

// TestExpirySpares a contact that wrote after it was found to be old.
func TestExpirySpares(t *testing.T) {
	s := mustOpen(t, testConfig(vfs.NewMem()))
	e := claimedMessage(t, s, "wamid.1", "49", "")
	id := []uuid.UUID{e.Customer.Contact}
	if err := s.removeContacts(id, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Contact(t.Context(), "1", "49"); err != nil {
		t.Errorf("a contact that had written went: %v", err)
	}
	if err := s.removeContacts(id, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Contact(t.Context(), "1", "49"); err == nil {
		t.Error("an old contact stayed")
	}
}
