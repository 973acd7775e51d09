package storetest

import (
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

const aDay = 24 * time.Hour

var dedupeChecks = []check{
	{name: "DuplicateInBatch", run: duplicateInBatch},
	{name: "DuplicateAcrossBatchesLanesAndNodes", run: duplicateAcross},
	{name: "SameWordsOtherIdentity", run: sameWords},
	{name: "DuplicateAcrossDays", run: duplicateAcrossDays},
	{name: "DuplicateChangesNothing", run: duplicateChangesNothing},
	{name: "SeenExpires", needs: Advance, run: seenExpires},
}

// kinds is one event of each kind, all of one partition's key where possible.
func kinds() map[string]event.Event {
	echo := message(event.Customer{WABA: waba, WaID: "4917000000001"}, "wamid.echo", noon)
	echo.Identity = event.EchoIdentity("wamid.echo")
	return map[string]event.Event{
		"message":          message(person("4917000000001", "", "Ann", ""), "wamid.m", noon),
		"echo":             echo,
		"status":           status("wamid.s", "delivered", "", noon),
		"group status":     status("wamid.g", "read", "4917000000002", noon),
		"unranked status":  status("wamid.s", "failed", "", noon),
		"change":           change("hash", noon, noon.Add(time.Second)),
		"change, no time":  change("hash without time", time.Time{}, noon),
		"years old status": received(status("wamid.old", "sent", "", noon.Add(-3000*aDay)), noon),
	}
}

func duplicateInBatch(f *fixture) {
	for name, e := range kinds() {
		f.sub(name, func(f *fixture) {
			f.same("outcomes", f.do(express, e, e, e), []store.Outcome{store.Fresh, store.Duplicate, store.Duplicate})
		})
	}
}

func duplicateAcross(f *fixture) {
	sources := []store.Source{express, express, {Node: express.Node, Lane: "bulk"}, {Node: "node-b", Lane: "express"}}
	for _, e := range kinds() {
		for i, source := range sources {
			want := store.Duplicate
			if i == 0 {
				want = store.Fresh
			}
			f.expect(source, []event.Event{e}, want)
		}
	}
	count := 0
	for _, e := range f.stream() {
		if e.Type != event.ContactNew {
			count++
		}
	}
	f.same("events", count, len(kinds()))
}

// sameWords are identities that only a careless key would mix up.
func sameWords(f *fixture) {
	c := person("4917000000001", "", "", "")
	echo := message(c, "wamid.1", noon)
	echo.Identity, echo.Customer.Writes = event.EchoIdentity("wamid.1"), false
	f.expect(express, []event.Event{
		message(c, "wamid.1", noon),
		echo,
		status("wamid.1", "sent", "", noon),
		status("wamid.1", "sent", "4917000000002", noon),
		status("wamid.1", "failed", "", noon),
		status("wamid.1", "failed", "4917000000002", noon),
	}, make([]store.Outcome, 6)...)
}

func duplicateAcrossDays(f *fixture) {
	midnight := noon.Truncate(aDay)
	for name, times := range map[string]struct{ at, first, again time.Time }{
		"received the next day":      {midnight.Add(-time.Second), midnight.Add(time.Second), midnight.Add(time.Minute)},
		"again at the window's end":  {midnight.Add(-8 * aDay), midnight.Add(-8 * aDay), midnight},
		"a clock behind":             {midnight.Add(time.Hour), midnight.Add(-time.Minute), midnight.Add(2 * time.Hour)},
		"no time, again a week on":   {time.Time{}, midnight.Add(-7 * aDay), midnight},
		"years old, again a week on": {midnight.Add(-2000 * aDay), midnight.Add(-7 * aDay), midnight},
		"far ahead, again in a week": {midnight.Add(400 * aDay), midnight.Add(-7 * aDay), midnight},
	} {
		f.sub(name, func(f *fixture) {
			e := change(name, times.at, times.first)
			s := status("wamid."+name, "delivered", "", times.at)
			u := status("wamid."+name, "failed", "", times.at)
			f.expect(express, []event.Event{
				e, received(e, times.again),
				received(s, times.first), received(s, times.again),
				received(u, times.first), received(u, times.again),
			}, store.Fresh, store.Duplicate, store.Fresh, store.Duplicate, store.Fresh, store.Duplicate)
		})
	}
}

func duplicateChangesNothing(f *fixture) {
	m := message(person("4917000000001", "", "Ann", ""), "wamid.1", noon)
	f.expect(express, []event.Event{m}, store.Fresh)
	again := message(person("4917000000001", "", "Bob", "bob"), "wamid.1", noon.Add(time.Hour))
	f.expect(express, []event.Event{again}, store.Duplicate)
	f.same("types", types(f.stream()), []string{event.ContactNew, event.MessageNew})
	c, err := f.store.Contact(f.ctx, waba, "4917000000001")
	f.must(err)
	f.same("name", c.Name, "Ann")
}

// seenExpires: a key goes once the window and two days have passed since the
// beginning of its day, and not before the window has.
func seenExpires(f *fixture) {
	kept := change("kept", noon, noon)
	f.expect(express, []event.Event{kept}, store.Fresh)
	f.harness.Advance(f.T, time.Until(noon.Add(f.opts.Window)))
	f.expect(express, []event.Event{received(kept, noon.Add(f.opts.Window))}, store.Duplicate)
	f.harness.Advance(f.T, 2*aDay)
	f.expect(express, []event.Event{received(kept, noon.Add(f.opts.Window))}, store.Fresh)
}
