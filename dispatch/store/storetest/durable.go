package storetest

import (
	"fmt"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var durableChecks = []check{
	{name: "OpenedAgain", needs: Reopen, run: openedAgain},
	{name: "TrimmedOpenedAgain", needs: Reopen, run: trimmedOpenedAgain, opts: func(o *Options) { o.Retain = 1024 }},
	{name: "LosesASuffix", needs: Lose, run: losesASuffix},
	{name: "LosesClaims", needs: Lose, run: losesClaims},
	{name: "PlacesNeverReturn", needs: Lose, run: placesNeverReturn},
}

func openedAgain(f *fixture) {
	ann := person(number, userID, "Ann", "")
	f.do(express, message(ann, "wamid.1", noon), status("wamid.2", "read", "", noon), change("c", noon, noon))
	entries, bounds := f.stream(), f.bounds()
	f.store = f.harness.Reopen(f.T)

	cursors, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.same("cursors", cursors, f.cursors(express))
	f.sameEntries("entries", f.stream(), entries)
	f.same("bounds", f.bounds(), bounds)
	f.expect(store.Source{Node: "node-b", Lane: "express"}, []event.Event{
		message(ann, "wamid.1", noon), status("wamid.2", "read", "", noon),
		status("wamid.2", "sent", "", noon), change("c", noon, noon),
	}, store.Duplicate, store.Duplicate, store.Stale, store.Duplicate)
	f.steps([]step{
		{name: "the same", customer: ann, minute: 1},
		{name: "a name", customer: person("", userID, "Anna", ""), minute: 2, kind: event.ContactUpdated, changed: []any{"name"}},
	})
	f.same("followed", f.follow(make([]store.Place, f.opts.Partitions), len(entries)+4).count, len(entries)+4)
}

func trimmedOpenedAgain(f *fixture) {
	applied := make([][]store.Entry, f.opts.Partitions)
	fill := func(turn string) {
		for i := range 20 {
			for p := range f.opts.Partitions {
				f.fill(p, 16, fmt.Sprint(turn, i))
				applied[p] = append(applied[p], f.lastOf(p, 16)...)
			}
		}
	}
	fits := func(held []store.Entry) bool { return len(held) <= 1280 && len(held) >= 768 }
	fill("first")
	f.checkTrimmed(applied, fits)
	f.store = f.harness.Reopen(f.T)
	f.checkTrimmed(applied, fits)
	fill("second")
	f.checkTrimmed(applied, fits)
}

// losesASuffix: whatever the crash took, cursors and effects agree: what a cursor
// covers happened once, what it does not cover did not happen.
func losesASuffix(f *fixture) {
	f.rounds(1, 5)
	durable, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.rounds(6, 10)
	f.store = f.harness.Lose(f.T)

	stored, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	for p := range f.opts.Partitions {
		if stored[p].Seq < durable[p].Seq {
			f.Errorf("partition %d: the cursor fell to %v, %v was durable", p, stored[p], durable[p])
		}
		entries := f.read(p)
		f.same("entries of a partition", len(entries), stored[p].Seq)
		bounds := f.bounds()[p]
		if len(entries) > 0 {
			f.same("last", bounds.Last, entries[len(entries)-1].Place)
		}
		// From there all can be applied again, and takes effect once.
		f.cursors(express)[p] = stored[p]
		for seq := stored[p].Seq + 1; seq <= 12; seq++ {
			f.applyRound(p, seq, store.Fresh)
		}
		f.same("entries at last", len(f.read(p)), 12)
	}
}

// rounds applies one event of each of the records to every partition.
func (f *fixture) rounds(first, last uint64) {
	f.Helper()
	for seq := first; seq <= last; seq++ {
		for p := range f.opts.Partitions {
			f.applyRound(p, seq, store.Fresh)
		}
	}
}

func (f *fixture) applyRound(partition int, seq uint64, want store.Outcome) {
	f.Helper()
	b := &store.Batch{
		Source: express, Partition: partition, From: f.cursors(express)[partition], To: cursor(seq),
		Events: []event.Event{change(fmt.Sprint("record ", partition, " ", seq), noon, noon)},
	}
	f.same("outcome", f.apply(b).Outcomes[0], want)
}

// losesClaims: a claim lost with its message is made again, and the contact is
// born once.
func losesClaims(f *fixture) {
	_, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	m := message(person(number, userID, "Ann", ""), "wamid.1", noon)
	f.do(express, m)
	f.store = f.harness.Lose(f.T)
	stored, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.at[express] = stored
	f.do(express, m)
	f.do(express, message(person(number, userID, "Ann", ""), "wamid.2", noon.Add(time.Second)))
	f.same("types", types(f.read(f.partition(&m))), []string{event.ContactNew, event.MessageNew, event.MessageNew})
}

// placesNeverReturn: a place that was shown before a crash names no other event
// after it, and is not beyond the limit either.
func placesNeverReturn(f *fixture) {
	for turn := range 4 {
		var shown store.Place
		for p := range f.opts.Partitions {
			f.fill(p, 10, fmt.Sprint("shown", turn))
			if last := f.lastOf(p, 1)[0].Place; last.Compare(shown) > 0 {
				shown = last
			}
		}
		f.store = f.harness.Lose(f.T)
		stored, err := f.store.Cursors(f.ctx, express)
		f.must(err)
		f.at[express] = stored
		_, limit, err := f.store.Bounds(f.ctx)
		f.must(err)
		if shown.Compare(limit) > 0 {
			f.Errorf("place %v was shown, the limit is %v", shown, limit)
		}
		for p := range f.opts.Partitions {
			f.fill(p, 1, fmt.Sprint("after", turn))
			if next := f.lastOf(p, 1)[0].Place; next.Compare(shown) <= 0 {
				f.Errorf("partition %d: place %v after %v was shown", p, next, shown)
			}
		}
	}
}
