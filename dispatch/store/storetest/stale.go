package storetest

import (
	"strings"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var staleChecks = []check{
	{name: "StaleInAllOrders", run: staleInAllOrders},
	{name: "StaleInOneBatch", run: staleInOneBatch},
	{name: "StaleAcrossDays", run: staleAcrossDays},
	{name: "StaleByParticipant", run: staleByParticipant},
	{name: "StaleIsSaid", run: staleIsSaid},
}

// orders are statuses of one message as they arrive; one that has to be stale
// has a star.
var orders = []string{
	"sent delivered read played",
	"delivered sent*",
	"read sent* delivered* played",
	"played read* delivered* sent*",
	"delivered played read* sent*",
	"sent read delivered*",
	"failed sent delivered",
	"read failed deleted warning",
	"sent failed delivered failed_again read",
	"unknown sent unknown_too delivered",
}

func (f *fixture) parseOrder(wamid, order string) (events []event.Event, want []store.Outcome) {
	for i, word := range strings.Fields(order) {
		name, stale := strings.CutSuffix(word, "*")
		events = append(events, status(wamid, name, "", noon.Add(time.Duration(i)*time.Second)))
		if stale {
			want = append(want, store.Stale)
		} else {
			want = append(want, store.Fresh)
		}
	}
	return events, want
}

func staleInAllOrders(f *fixture) {
	for _, order := range orders {
		f.sub(order, func(f *fixture) {
			events, want := f.parseOrder("wamid."+order, order)
			f.expect(express, events, want...)
			// A redelivery is a duplicate, however high others have come since.
			for _, e := range events {
				f.expect(store.Source{Node: "node-b", Lane: "bulk"}, []event.Event{e}, store.Duplicate)
			}
		})
	}
}

func staleInOneBatch(f *fixture) {
	for _, order := range orders {
		events, want := f.parseOrder("wamid.batch."+order, order)
		f.same("outcomes of "+order, f.do(express, events...), want)
	}
}

// staleAcrossDays: the later status happened on a later day, and came first.
func staleAcrossDays(f *fixture) {
	for name, days := range map[string]int{"next day": 1, "three days on": 3, "a week on": 7} {
		f.sub(name, func(f *fixture) {
			wamid := "wamid." + name
			sent := noon.Add(-8 * aDay)
			read := sent.Add(time.Duration(days) * aDay)
			f.expect(express, []event.Event{
				status(wamid, "read", "", read),
				received(status(wamid, "sent", "", sent), read.Add(time.Minute)),
				received(status(wamid, "delivered", "", sent.Add(time.Hour)), read.Add(time.Minute)),
				status(wamid, "played", "", read.Add(time.Hour)),
			}, store.Fresh, store.Stale, store.Stale, store.Fresh)
		})
	}
	// A read of which the time is ahead, and one that is years old.
	f.expect(express, []event.Event{
		received(status("wamid.ahead", "read", "", noon.Add(aDay)), noon.Add(time.Hour)),
		status("wamid.ahead", "sent", "", noon),
	}, store.Fresh, store.Stale)
	old := noon.Add(-3000 * aDay)
	f.expect(express, []event.Event{
		received(status("wamid.old", "read", "", old), noon),
		received(status("wamid.old", "sent", "", old), noon.Add(2*aDay)),
	}, store.Fresh, store.Stale)
}

func staleByParticipant(f *fixture) {
	f.expect(express, []event.Event{
		status("wamid.group", "read", "4917000000001", noon),
		status("wamid.group", "delivered", "4917000000002", noon),
		status("wamid.group", "delivered", "4917000000001", noon),
		status("wamid.group", "sent", "", noon),
		status("wamid.group", "read", "4917000000002", noon),
	}, store.Fresh, store.Fresh, store.Stale, store.Fresh, store.Fresh)
}

// staleIsSaid: a stale status says so, and no other does.
func staleIsSaid(f *fixture) {
	f.do(express, status("wamid.1", "read", "", noon), status("wamid.1", "sent", "", noon),
		status("wamid.1", "played", "", noon))
	for _, e := range f.stream() {
		fields := f.fields(e.Payload)
		stale, said := fields["stale"]
		if want := fields["status"] == "sent"; said != want || want && stale != true {
			f.Errorf("payload %s", e.Payload)
		}
	}
	f.same("events", len(f.stream()), 3)
}
