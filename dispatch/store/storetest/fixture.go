package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

const waba = "1020"

// noon is when most events of the suite happen: a recent noon in UTC, so that no
// store takes them for expired.
var noon = time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)

// express is the source that the suite applies from where it does not matter.
var express = store.Source{Node: "node-a", Lane: "express"}

// fixture is one test: a store, and the log it is filled from.
type fixture struct {
	*testing.T
	ctx     context.Context
	harness *Harness
	store   Store
	opts    Options
	// at are the cursors as the dispatcher holds them.
	at map[store.Source][]store.Cursor
	// seq is the last record of the log.
	seq uint64
}

func newFixture(t *testing.T, h *Harness, opts Options) *fixture {
	return &fixture{
		T: t, ctx: t.Context(), harness: h, store: h.Store, opts: opts,
		at: make(map[store.Source][]store.Cursor),
	}
}

// sub runs a part of the test as a test of its own, on the same store.
func (f *fixture) sub(name string, run func(*fixture)) {
	f.Helper()
	f.Run(name, func(t *testing.T) {
		part := *f
		part.T = t
		run(&part)
		f.seq = part.seq
	})
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// cursor is the cursor of a record of the suite's log.
func cursor(seq uint64) store.Cursor { return store.Cursor{Seq: seq, Hash: seq*0x9e3779b97f4a7c15 + 1} }

// cursors are those held for a source.
func (f *fixture) cursors(source store.Source) []store.Cursor {
	if f.at[source] == nil {
		f.at[source] = make([]store.Cursor, f.opts.Partitions)
	}
	return f.at[source]
}

func (f *fixture) partition(e *event.Event) int { return event.Partition(e.Key, f.opts.Partitions) }

// batch is the next batch of a partition, as the dispatcher would make it.
func (f *fixture) batch(source store.Source, partition int, events ...event.Event) *store.Batch {
	f.seq++
	return &store.Batch{
		Source: source, Partition: partition, From: f.cursors(source)[partition], To: cursor(f.seq), Events: events,
	}
}

// apply applies a batch that has to be applied.
func (f *fixture) apply(b *store.Batch) store.Result {
	f.Helper()
	r, err := f.store.Apply(f.ctx, b)
	f.must(err)
	if !r.Applied || r.Stored != b.To {
		f.Fatalf("applied %v, stored %v; want it applied up to %v", r.Applied, r.Stored, b.To)
	}
	if len(r.Outcomes) != len(b.Events) {
		f.Fatalf("%d outcomes for %d events", len(r.Outcomes), len(b.Events))
	}
	f.cursors(b.Source)[b.Partition] = b.To
	return r
}

// claim does what dispatching does before it applies: each event gets the
// contact of its customer.
func (f *fixture) claim(events ...event.Event) []event.Event {
	f.Helper()
	events = slices.Clone(events)
	for i := range events {
		e := &events[i]
		if e.Customer == nil {
			continue
		}
		customer := *e.Customer
		e.Customer, e.Payload = &customer, slices.Clone(e.Payload)
		claim := store.Claim{Customer: e.Customer}
		if customer.Writes {
			claim.Message = e.Identity
		}
		got, err := f.store.Claim(f.ctx, []store.Claim{claim})
		f.must(err)
		e.SetContact(got[0].Contact)
		e.Customer.Born = customer.Writes && got[0].Birth == e.Identity
	}
	return events
}

// do claims and applies events, one batch a partition, and returns the outcomes
// in the order of the events.
func (f *fixture) do(source store.Source, events ...event.Event) []store.Outcome {
	f.Helper()
	events = f.claim(events...)
	outcomes := make([]store.Outcome, len(events))
	for p := range f.opts.Partitions {
		var share []event.Event
		var index []int
		for i := range events {
			if f.partition(&events[i]) == p {
				share, index = append(share, events[i]), append(index, i)
			}
		}
		if len(share) == 0 {
			continue
		}
		for i, o := range f.apply(f.batch(source, p, share...)).Outcomes {
			outcomes[index[i]] = o
		}
	}
	return outcomes
}

// expect does the events one batch each, and compares the outcomes.
func (f *fixture) expect(source store.Source, events []event.Event, want ...store.Outcome) {
	f.Helper()
	for i := range events {
		if got := f.do(source, events[i])[0]; got != want[i] {
			f.Errorf("event %d (%s, received %v): %s, want %s", i, events[i].Identity,
				events[i].Received, store.Outcomes[got], store.Outcomes[want[i]])
		}
	}
}

// read gives all entries of a partition.
func (f *fixture) read(partition int) []store.Entry {
	f.Helper()
	entries, err := f.store.Read(f.ctx, partition, store.Place{}, 1<<30, 1<<40)
	f.must(err)
	return entries
}

// stream gives all entries of all partitions, one partition after the other.
func (f *fixture) stream() []store.Entry {
	f.Helper()
	var all []store.Entry
	for p := range f.opts.Partitions {
		all = append(all, f.read(p)...)
	}
	return all
}

// types are the types of the entries.
func types(entries []store.Entry) []string {
	out := make([]string, len(entries))
	for i := range entries {
		out[i] = entries[i].Type
	}
	return out
}

// fields is a payload taken apart.
func (f *fixture) fields(payload []byte) map[string]any {
	f.Helper()
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		f.Fatalf("payload %s: %v", payload, err)
	}
	return m
}

// same compares two things that print alike when they are alike.
func (f *fixture) same(what string, got, want any) {
	f.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		f.Errorf("%s: %.500s, want %.500s", what, g, w)
	}
}

// sameEntries compares entries, and tells the first that differs.
func (f *fixture) sameEntries(what string, got, want []store.Entry) {
	f.Helper()
	if i := differ(got, want); i >= 0 {
		f.Errorf("%s: %d entries, want %d; they differ at %d", what, len(got), len(want), i)
	}
}

// differ is the index at which two runs of entries differ, -1 where they do not.
func differ(a, b []store.Entry) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i].Place != b[i].Place || a[i].UID != b[i].UID ||
			a[i].Type != b[i].Type || !bytes.Equal(a[i].Payload, b[i].Payload) {
			return i
		}
	}
	return -1
}

// person is a customer with a wa_id, a user_id, a name and a username, each
// empty for none.
func person(waID, userID, name, username string) event.Customer {
	return event.Customer{WABA: waba, WaID: waID, UserID: userID, Name: name, Username: username, Writes: true}
}

// message is a message of the customer's, received a second after it was sent.
func message(c event.Customer, wamid string, at time.Time) event.Event {
	c.Contact = c.Candidate()
	e := event.Event{
		UID: event.UID(event.MessageNew, wamid), Type: event.MessageNew, Identity: wamid, Key: c.Primary(),
		Time: at, Received: at.Add(time.Second), Customer: &c,
	}
	e.Payload = fmt.Appendf(event.AppendContact(nil, c.Contact), `,"wamid":%q}`, wamid)
	return e
}

// status is a status of a message, to a customer who need not have written.
func status(wamid, name, participant string, at time.Time) event.Event {
	c := event.Customer{WABA: waba, WaID: "4917000000009"}
	c.Contact = c.Candidate()
	identity := event.StatusIdentity(wamid, name, participant)
	e := event.Event{
		UID: event.UID(event.MessageStatus, identity), Type: event.MessageStatus, Identity: identity, Key: wamid,
		Time: at, Received: at.Add(time.Second), Customer: &c,
		Status: &event.Status{Wamid: wamid, Participant: participant, Name: name},
	}
	e.Payload = fmt.Appendf(event.AppendContact(nil, c.Contact), `,"wamid":%q,"status":%q}`, wamid, name)
	return e
}

// change is a change that is passed on whole.
func change(identity string, at, received time.Time) event.Event {
	kind := event.WebhookPrefix + "flows"
	return event.Event{
		UID: event.UID(kind, identity), Type: kind, Identity: identity, Key: waba, Time: at, Received: received,
		Payload: fmt.Appendf(nil, `{"field":"flows","value":%q}`, identity),
	}
}

// received is the event as it arrives at another time.
func received(e event.Event, at time.Time) event.Event {
	e.Received = at
	return e
}

// contactOf is the id in the field of a payload.
func (f *fixture) contactOf(entry store.Entry, field string) uuid.UUID {
	f.Helper()
	text, _ := f.fields(entry.Payload)[field].(string)
	id, err := uuid.Parse(text)
	if err != nil {
		f.Fatalf("%s of %s: %v", field, entry.Payload, err)
	}
	return id
}
