package storetest

import (
	"slices"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var modeChecks = []check{
	{name: "AgainChangesNothing", run: againChangesNothing},
	{name: "AgainRepairs", run: againRepairs},
	{name: "ForcedOnlyAppends", run: forcedOnlyAppends},
}

// doMode claims events and applies them in a mode that has no cursor.
func (f *fixture) doMode(mode store.Mode, events ...event.Event) []store.Outcome {
	f.Helper()
	events = f.claim(events...)
	outcomes := make([]store.Outcome, len(events))
	for i := range events {
		r, err := f.store.Apply(f.ctx, &store.Batch{Mode: mode, Partition: f.partition(&events[i]), Events: events[i : i+1]})
		f.must(err)
		if !r.Applied || !r.Stored.IsZero() || len(r.Outcomes) != 1 {
			f.Fatalf("applied %v, stored %v, %d outcomes", r.Applied, r.Stored, len(r.Outcomes))
		}
		outcomes[i] = r.Outcomes[0]
	}
	return outcomes
}

// history is a message of a customer and two statuses, the later one first.
func history() []event.Event {
	return []event.Event{
		message(person("4917000000001", "", "Ada", ""), "wamid.mode", noon),
		status("wamid.sent", "read", "", noon.Add(time.Minute)),
		status("wamid.sent", "delivered", "", noon),
	}
}

func (f *fixture) stored(source store.Source) []store.Cursor {
	f.Helper()
	cursors, err := f.store.Cursors(f.ctx, source)
	f.must(err)
	return cursors
}

func againChangesNothing(f *fixture) {
	f.same("outcomes", f.do(express, history()...), []store.Outcome{store.Fresh, store.Fresh, store.Stale})
	entries, cursors := f.stream(), f.stored(express)
	contact, err := f.store.Contact(f.ctx, waba, "4917000000001")
	f.must(err)

	for range 2 {
		got := f.doMode(store.Again, history()...)
		f.same("outcomes again", got, []store.Outcome{store.Duplicate, store.Duplicate, store.Duplicate})
	}
	f.sameEntries("stream", f.stream(), entries)
	f.same("cursors", f.stored(express), cursors)
	now, err := f.store.Contact(f.ctx, waba, "4917000000001")
	f.must(err)
	f.same("contact", now, contact)
	// The drained log goes on where it was.
	f.expect(express, []event.Event{status("wamid.sent", "played", "", noon.Add(time.Hour))}, store.Fresh)
}

// againRepairs: the cursors have passed events that never took effect.
func againRepairs(f *fixture) {
	f.do(express, history()[1])
	for p := range f.opts.Partitions {
		f.apply(f.batch(express, p))
	}
	cursors := f.stored(express)
	f.same("outcomes", f.doMode(store.Again, history()...), []store.Outcome{store.Fresh, store.Duplicate, store.Stale})
	f.same("cursors", f.stored(express), cursors)
	got := types(f.stream())
	slices.Sort(got)
	f.same("stream", got, []string{event.ContactNew, event.MessageNew, event.MessageStatus, event.MessageStatus})
	f.same("outcomes of a redelivery", f.do(express, history()...), []store.Outcome{store.Duplicate, store.Duplicate, store.Duplicate})
}

func forcedOnlyAppends(f *fixture) {
	f.do(express, history()...)
	before, cursors := f.stream(), f.stored(express)
	contact, err := f.store.Contact(f.ctx, waba, "4917000000001")
	f.must(err)

	renamed := message(person("4917000000001", "", "Another", ""), "wamid.unseen", noon.Add(time.Hour))
	renamed.Customer.Writes = false // a forced replay only looks contacts up
	events := append(history(), renamed, status("wamid.fresh", "read", "", noon))
	events[0].Customer.Writes = false
	for range 2 {
		f.doMode(store.Forced, events...)
	}
	after := f.stream()
	f.same("entries", len(after), len(before)+2*len(events))
	replayed := map[string]int{}
	for _, entry := range after {
		if f.fields(entry.Payload)["replayed"] == true {
			replayed[entry.UID.String()]++
		}
	}
	for _, e := range events {
		f.same("times that "+e.Identity+" was replayed", replayed[e.UID.String()], 2)
	}
	f.same("cursors", f.stored(express), cursors)
	now, err := f.store.Contact(f.ctx, waba, "4917000000001")
	f.must(err)
	f.same("contact", now, contact)
	// Neither identity nor rank were taken for seen.
	f.expect(express, []event.Event{
		message(person("4917000000001", "", "Ada", ""), "wamid.unseen", noon.Add(time.Hour)),
		status("wamid.fresh", "delivered", "", noon),
	}, store.Fresh, store.Fresh)
}
