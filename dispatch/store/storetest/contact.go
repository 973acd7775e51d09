package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var contactChecks = []check{
	{name: "ClaimIsSetOnce", run: claimIsSetOnce},
	{name: "ClaimsOfOneCall", run: claimsOfOneCall},
	{name: "LookUpNeverWrites", run: lookUpNeverWrites},
	{name: "ClaimAtItsCursor", run: claimAtItsCursor},
	{name: "ContactLife", run: contactLife},
	{name: "ContactBornOnce", run: contactBornOnce},
	{name: "OlderNeverChangesAProfile", run: olderNeverChanges},
	{name: "ClaimedApart", run: claimedApart},
	{name: "NumberChanged", run: numberChanged},
	{name: "ContactPayload", run: contactPayload},
	{name: "ContactsByAccount", run: contactsByAccount},
	{name: "Forget", run: forget},
	{name: "ForgottenWritesAgain", run: forgottenWritesAgain},
	{name: "ForgottenStaysForgotten", run: forgottenStaysForgotten},
	{name: "ContactExpires", needs: Advance, run: contactExpires,
		opts: func(o *Options) { o.ContactTTL = 30 * aDay }},
}

const (
	number  = "4917000000001"
	number2 = "4917000000002"
	userID  = "US.13491208655302741918"
)

func (f *fixture) claimOne(c event.Customer, message string) store.Claimed {
	f.Helper()
	got, err := f.store.Claim(f.ctx, []store.Claim{{Customer: &c, Message: message}})
	f.must(err)
	return got[0]
}

func claimIsSetOnce(f *fixture) {
	byNumber := person(number, "", "", "")
	first := store.Claimed{Contact: event.ContactID(waba, number), Birth: "wamid.1"}
	f.same("first", f.claimOne(byNumber, "wamid.1"), first)
	f.same("again", f.claimOne(byNumber, "wamid.1"), first)
	f.same("another message", f.claimOne(byNumber, "wamid.2"), first)
	f.same("both ids", f.claimOne(person(number, userID, "", ""), "wamid.3"), first)
	f.same("the user id alone", f.claimOne(person("", userID, "", ""), "wamid.4"), first)
	f.same("a look-up", f.claimOne(person("", userID, "", ""), ""), first)

	other := store.Claimed{Contact: event.ContactID(waba, "US.2"), Birth: "wamid.5"}
	f.same("a user id first", f.claimOne(person("", "US.2", "", ""), "wamid.5"), other)
	f.same("its number later", f.claimOne(person(number2, "US.2", "", ""), "wamid.6"), other)
	f.same("the number alone", f.claimOne(person(number2, "", "", ""), "wamid.7"), other)
}

// claimsOfOneCall: claims of one call see one another.
func claimsOfOneCall(f *fixture) {
	a, b, c := person(number, "", "", ""), person(number, userID, "", ""), person("", userID, "", "")
	got, err := f.store.Claim(f.ctx, []store.Claim{
		{Customer: &a, Message: "wamid.1"}, {Customer: &b, Message: "wamid.2"}, {Customer: &c, Message: "wamid.3"},
	})
	f.must(err)
	want := store.Claimed{Contact: event.ContactID(waba, number), Birth: "wamid.1"}
	f.same("answers", got, []store.Claimed{want, want, want})
	got, err = f.store.Claim(f.ctx, nil)
	f.must(err)
	f.same("answers to nothing", len(got), 0)
}

// claimAtItsCursor: a batch that the store is not at yet claims nothing, under no
// id, so that a store that went back has contacts born by the messages that gave
// birth to them before.
func claimAtItsCursor(f *fixture) {
	c := person(number, userID, "", "")
	m := message(c, "wamid.2", noon)
	b := f.batch(express, f.partition(&m), m)
	from := b.From
	claim := func(at store.Cursor) ([]store.Claimed, error) {
		b.From = at
		return f.store.Claim(f.ctx, []store.Claim{{Customer: &c, Message: m.Identity, Batch: b}})
	}
	for _, other := range []store.Cursor{cursor(1000), {Seq: from.Seq, Hash: from.Hash + 1}} {
		got, err := claim(other)
		var differs *store.CursorError
		if !errors.As(err, &differs) || differs.Stored != from {
			f.Errorf("a claim at %v: %v, %v", other, got, err)
		}
	}
	for _, id := range []event.Customer{person(number, "", "", ""), person("", userID, "", "")} {
		f.same("a look-up", f.claimOne(id, "").Birth, "")
	}
	got, err := claim(from)
	f.must(err)
	f.same("at its cursor", got, []store.Claimed{{Contact: event.ContactID(waba, number), Birth: m.Identity}})
	got, err = claim(cursor(1000))
	f.must(err)
	f.same("known already", got, []store.Claimed{{Contact: event.ContactID(waba, number), Birth: m.Identity}})
}

func lookUpNeverWrites(f *fixture) {
	c := person(number, "", "", "")
	f.same("unknown", f.claimOne(c, ""), store.Claimed{Contact: c.Candidate()})
	if _, err := f.store.Contact(f.ctx, waba, number); !errors.Is(err, store.ErrNoContact) {
		f.Errorf("a look-up made a contact: %v", err)
	}
	f.same("birth", f.claimOne(c, "wamid.1").Birth, "wamid.1")
	both := person(number, userID, "", "")
	f.same("known by the number", f.claimOne(both, "").Birth, "wamid.1")
	f.same("the user id is still unknown", f.claimOne(person("", userID, "", ""), "").Birth, "")
}

// step is a message of the customer's, and the contact event it gives rise to.
type step struct {
	name     string
	customer event.Customer
	minute   int
	// kind is the contact event's type, empty for none.
	kind    string
	changed []any
}

func (f *fixture) steps(steps []step) {
	f.Helper()
	for i, s := range steps {
		f.sub(fmt.Sprint(i, " ", s.name), func(f *fixture) {
			m := message(s.customer, fmt.Sprintf("wamid.%s.%d", f.Name(), i), noon.Add(time.Duration(s.minute)*time.Minute))
			p := f.partition(&m)
			before := len(f.read(p))
			f.do(express, m)
			entries := f.read(p)[before:]
			if s.kind == "" {
				f.same("types", types(entries), []string{event.MessageNew})
				return
			}
			f.same("types", types(entries), []string{s.kind, event.MessageNew})
			if s.kind == event.ContactUpdated {
				f.same("changed", f.fields(entries[0].Payload)["changed"], s.changed)
			}
			f.same("ids", f.contactOf(entries[0], "id"), f.contactOf(entries[1], "contact_id"))
		})
	}
}

func contactLife(f *fixture) {
	f.steps([]step{
		{name: "born", customer: person(number, "", "Ann", ""), minute: 1, kind: event.ContactNew},
		{name: "the same", customer: person(number, "", "Ann", ""), minute: 2},
		{name: "no name", customer: person(number, "", "", ""), minute: 3},
		{name: "a name", customer: person(number, "", "Anna", ""), minute: 4, kind: event.ContactUpdated, changed: []any{"name"}},
		{name: "a user id", customer: person(number, userID, "Anna", ""), minute: 5},
		{name: "a user name", customer: person(number, userID, "Anna", "ann"), minute: 6, kind: event.ContactUpdated, changed: []any{"username"}},
		{name: "user id alone", customer: person("", userID, "Anna", "ann"), minute: 7},
		{name: "both names", customer: person("", userID, "A", "a"), minute: 8, kind: event.ContactUpdated, changed: []any{"name", "username"}},
		{name: "the same minute", customer: person("", userID, "B", "a"), minute: 8, kind: event.ContactUpdated, changed: []any{"name"}},
	})
	for _, id := range []string{number, userID} {
		c, err := f.store.Contact(f.ctx, waba, id)
		f.must(err)
		f.same("contact by "+id, c, store.Contact{
			ID: event.ContactID(waba, number), WABA: waba, WaID: number, UserID: userID, Name: "B", Username: "a",
			Birth: c.Birth, Updated: noon.Add(8 * time.Minute),
		})
	}
	f.sub("a number learned", func(f *fixture) {
		f.steps([]step{
			{name: "born", customer: person("", "US.2", "Bob", ""), minute: 1, kind: event.ContactNew},
			{name: "number", customer: person(number2, "US.2", "Bob", ""), minute: 2, kind: event.ContactUpdated, changed: []any{"wa_id"}},
			{name: "the same", customer: person(number2, "US.2", "Bob", ""), minute: 3},
		})
	})
}

// contactBornOnce: the message that gave birth alone says so, whichever lane or
// node brings it, and however often.
func contactBornOnce(f *fixture) {
	first := message(person(number, "", "Ann", ""), "wamid.1", noon)
	second := message(person(number, "", "Ann", ""), "wamid.2", noon.Add(time.Second))
	b := f.batch(express, f.partition(&first), f.claim(first, second, first)...)
	r := f.apply(b)
	f.same("contacts", []int{r.ContactsNew, r.ContactsUpdated}, []int{1, 0})
	f.expect(store.Source{Node: "node-b", Lane: "express"}, []event.Event{second, first}, store.Duplicate, store.Duplicate)
	entries := f.stream()
	f.same("types", types(entries), []string{event.ContactNew, event.MessageNew, event.MessageNew})
	id := event.ContactID(waba, number)
	f.same("uid", entries[0].UID, event.UID(event.ContactNew, event.ContactIdentity(id, "wamid.1")))
}

func olderNeverChanges(f *fixture) {
	f.steps([]step{
		{name: "born", customer: person(number, "", "Ann", ""), minute: 10, kind: event.ContactNew},
		{name: "older", customer: person(number, "", "Old", "old"), minute: 5},
		{name: "confirmed", customer: person(number, "", "Ann", ""), minute: 20},
		{name: "older than that", customer: person(number, "", "Old", "old"), minute: 15},
	})
	c, err := f.store.Contact(f.ctx, waba, number)
	f.must(err)
	f.same("profile", []string{c.Name, c.Username}, []string{"Ann", ""})
}

// claimedApart: number and user id were two contacts until a message showed both.
func claimedApart(f *fixture) {
	f.steps([]step{
		{name: "by number", customer: person(number, "", "Ann", ""), minute: 1, kind: event.ContactNew},
		{name: "by user id", customer: person("", userID, "Ann", ""), minute: 2, kind: event.ContactNew},
	})
	winner, loser := event.ContactID(waba, number), event.ContactID(waba, userID)
	both := person(number, userID, "Ann", "")
	f.same("the claim", f.claimOne(both, "wamid.both").Contact, winner)
	m := message(both, "wamid.both", noon.Add(3*time.Minute))
	p := f.partition(&m)
	before := len(f.read(p))
	f.do(express, m)
	entries := f.read(p)[before:]
	f.same("types", types(entries), []string{event.ContactUpdated, event.MessageNew})
	f.same("id", f.contactOf(entries[0], "id"), winner)
	f.same("previous id", f.contactOf(entries[0], "previous_id"), loser)
	f.same("changed", f.fields(entries[0].Payload)["changed"], []any{"wa_id"})
	f.same("message's contact", f.contactOf(entries[1], "contact_id"), winner)
	for _, c := range []event.Customer{both, person(number, "", "", ""), person("", userID, "", "")} {
		f.same("the contact after", f.claimOne(c, "").Contact, winner)
	}
	f.steps([]step{{name: "again", customer: both, minute: 4}, {name: "by user id", customer: person("", userID, "Ann", ""), minute: 5}})
	_, err := f.store.Forget(f.ctx, waba, number)
	f.must(err)
	f.same("events after both were forgotten", len(f.stream()), 0)
}

func numberChanged(f *fixture) {
	moves := person(number, userID, "Ann", "")
	moves.NewWaID = number2
	f.steps([]step{
		{name: "born", customer: person(number, userID, "Ann", ""), minute: 1, kind: event.ContactNew},
		{name: "moves", customer: moves, minute: 2, kind: event.ContactUpdated, changed: []any{"wa_id"}},
	})
	f.same("the new number", f.claimOne(person(number2, "", "", ""), "").Birth, f.claimOne(moves, "").Birth)
	f.steps([]step{{name: "writes from there", customer: person(number2, userID, "Ann", ""), minute: 3}})
	id := event.ContactID(waba, number)
	for _, by := range []string{number, number2, userID} {
		f.same("contact by "+by, f.claimOne(person(by, "", "", ""), "").Contact, id)
	}
	c, err := f.store.Contact(f.ctx, waba, number2)
	f.must(err)
	f.same("number", c.WaID, number2)
}

func contactPayload(f *fixture) {
	c := person(number, userID, "Ann \"A\" \\ \x01é", "ann")
	f.do(express, message(c, "wamid.1", noon), message(person(number, userID, "Bea\xff", "ann"), "wamid.2", noon.Add(time.Minute)))
	entries := f.stream()
	id := event.ContactID(waba, number).String()
	want := map[string]any{
		"id": id, "waba_id": waba, "wa_id": number, "user_id": userID, "name": "Ann \"A\" \\ \x01é", "username": "ann",
		"timestamp": noon.Format(time.RFC3339),
	}
	f.same("contact:new", f.fields(entries[0].Payload), want)
	want["name"], want["timestamp"] = "Bea\uFFFD", noon.Add(time.Minute).Format(time.RFC3339)
	want["changed"] = []any{"name"}
	f.same("contact:updated", f.fields(entries[2].Payload), want)
}

func contactsByAccount(f *fixture) {
	other := person(number, "", "Ann", "")
	other.WABA = "2040"
	f.do(express, message(person(number, "", "Ann", ""), "wamid.1", noon), message(other, "wamid.2", noon))
	one, err := f.store.Contact(f.ctx, waba, number)
	f.must(err)
	two, err := f.store.Contact(f.ctx, "2040", number)
	f.must(err)
	if one.ID == two.ID {
		f.Error("one contact for two accounts")
	}
}

func forget(f *fixture) {
	f.steps([]step{
		{name: "one by number", customer: person(number, "", "Ann", ""), minute: 1, kind: event.ContactNew},
		{name: "one by both", customer: person(number, userID, "Anna", ""), minute: 2, kind: event.ContactUpdated, changed: []any{"name"}},
		{name: "another", customer: person(number2, "", "Bob", ""), minute: 1, kind: event.ContactNew},
	})
	s := status("wamid.to-ann", "read", "", noon)
	s.Customer.WaID = number
	f.do(express, s, status("wamid.to-carol", "read", "", noon), change("c", noon, noon))
	last := f.bounds()

	n, err := f.store.Forget(f.ctx, waba, userID)
	f.must(err)
	f.same("events forgotten", n, 5)
	for _, id := range []string{number, userID} {
		if _, err := f.store.Contact(f.ctx, waba, id); !errors.Is(err, store.ErrNoContact) {
			f.Errorf("contact by %s: %v", id, err)
		}
		if _, err := f.store.Forget(f.ctx, waba, id); !errors.Is(err, store.ErrNoContact) {
			f.Errorf("forget %s again: %v", id, err)
		}
	}
	left := f.stream()
	f.same("events left", len(left), 4)
	gone := event.ContactID(waba, number)
	for _, e := range left {
		fields := f.fields(e.Payload)
		if fields["contact_id"] == gone.String() || fields["id"] == gone.String() {
			f.Errorf("still there: %s %s", e.Type, e.Payload)
		}
	}
	f.same("bounds", f.bounds(), last)
	if _, err := f.store.Contact(f.ctx, waba, number2); err != nil {
		f.Errorf("the other contact: %v", err)
	}
}

func (f *fixture) bounds() []store.Bounds {
	f.Helper()
	bounds, _, err := f.store.Bounds(f.ctx)
	f.must(err)
	return bounds
}

// forgottenWritesAgain: what was seen stays seen, and who writes again is new.
func forgottenWritesAgain(f *fixture) {
	ann := person(number, userID, "Ann", "")
	f.do(express, message(ann, "wamid.1", noon))
	_, err := f.store.Forget(f.ctx, waba, number)
	f.must(err)
	f.steps([]step{{name: "again", customer: ann, minute: 5, kind: event.ContactNew}})
	f.expect(express, []event.Event{message(ann, "wamid.1", noon)}, store.Duplicate)
}

// forgottenStaysForgotten: a message that comes once more does not bring its
// sender back, and does not keep them from being new when they write again.
func forgottenStaysForgotten(f *fixture) {
	ann := person(number, userID, "Ann", "")
	f.do(express, message(ann, "wamid.1", noon))
	_, err := f.store.Forget(f.ctx, waba, number)
	f.must(err)
	f.expect(express, []event.Event{message(ann, "wamid.1", noon)}, store.Duplicate)
	for _, id := range []string{number, userID} {
		if _, err := f.store.Contact(f.ctx, waba, id); !errors.Is(err, store.ErrNoContact) {
			f.Errorf("contact by %s after a redelivery: %v", id, err)
		}
	}
	f.steps([]step{{name: "again", customer: ann, minute: 5, kind: event.ContactNew}})
}

func contactExpires(f *fixture) {
	f.do(express, message(person(number, userID, "Ann", ""), "wamid.1", noon))
	f.harness.Advance(f.T, 20*aDay)
	f.do(express, message(person(number2, "", "Bob", ""), "wamid.2", noon.Add(20*aDay)))
	f.harness.Advance(f.T, 20*aDay)
	for _, id := range []string{number, userID} {
		if c, err := f.store.Contact(f.ctx, waba, id); !errors.Is(err, store.ErrNoContact) || c.ID != uuid.Nil {
			f.Errorf("contact by %s after its time: %v", id, err)
		}
	}
	if _, err := f.store.Contact(f.ctx, waba, number2); err != nil {
		f.Errorf("contact that is in time: %v", err)
	}
}
