package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var feedChecks = []check{
	{name: "EntriesAsApplied", run: entriesAsApplied},
	{name: "PlacesGrow", run: placesGrow},
	{name: "ReadInPages", run: readInPages},
	{name: "FollowFromAnywhere", run: followFromAnywhere},
	{name: "FollowIsWoken", run: followIsWoken},
	{name: "FollowEnds", run: followEnds},
	{name: "FollowWhileApplying", run: followWhileApplying},
	// A store may give each partition an equal share of what is kept.
	{name: "BacklogDelaysNobody", run: backlogDelaysNobody, opts: func(o *Options) { o.Retain = 1_000_000 }},
}

// patience is how long the suite waits for what a store does by itself.
const patience = 10 * time.Second

// fill applies n changes to a partition.
func (f *fixture) fill(partition, n int, prefix string) {
	f.Helper()
	events := make([]event.Event, n)
	for i := range events {
		events[i] = change(fmt.Sprintf("%s-%d-%d", prefix, partition, i), noon, noon)
	}
	f.apply(f.batch(express, partition, events...))
}

func entriesAsApplied(f *fixture) {
	events := []event.Event{
		message(event.Customer{WABA: waba, WaID: number}, "wamid.echo", noon),
		change("one", noon, noon),
		status("wamid.1", "sent", "", noon),
	}
	long := change("long", noon, noon)
	long.Type = event.WebhookPrefix + string(slices.Repeat([]byte("f"), 300))
	long.Payload = fmt.Appendf(nil, `{"value":%q}`, string(slices.Repeat([]byte("é"), 300_000)))
	events = append(events, long)
	f.do(express, events...)
	got := make(map[string]store.Entry)
	for _, e := range f.stream() {
		got[e.UID.String()] = e
	}
	f.same("entries", len(got), len(events))
	for _, e := range events {
		entry := got[e.UID.String()]
		if entry.Type != e.Type || string(entry.Payload) != string(e.Payload) {
			f.Errorf("%s became %s of type %q", e.Identity, entry.Payload, entry.Type)
		}
	}
}

func placesGrow(f *fixture) {
	last := make([]store.Place, f.opts.Partitions)
	begin, _, err := f.store.Bounds(f.ctx)
	f.must(err)
	for round := range 5 {
		start := uint64(time.Now().UnixMilli())
		for p := range f.opts.Partitions {
			f.fill(p, 3, fmt.Sprint(round))
			entries := f.read(p)
			for _, e := range entries[len(entries)-3:] {
				if e.Place.Compare(last[p]) <= 0 || e.Place.Ms < start {
					f.Fatalf("place %v after %v, applied at %d", e.Place, last[p], start)
				}
				last[p] = e.Place
			}
		}
	}
	bounds, limit, err := f.store.Bounds(f.ctx)
	f.must(err)
	for p, b := range bounds {
		f.same("bounds", b, store.Bounds{Trimmed: begin[p].Trimmed, Last: last[p]})
		if last[p].Compare(limit) > 0 {
			f.Errorf("place %v is beyond the limit %v", last[p], limit)
		}
	}
}

func readInPages(f *fixture) {
	f.fill(2, 50, "two")
	f.fill(3, 5, "three")
	all := f.read(2)
	f.same("entries", len(all), 50)
	for _, limits := range [][2]int{{7, 1 << 20}, {1, 1 << 20}, {1000, 3 * len(all[0].Payload)}, {1000, 1}} {
		var got []store.Entry
		var after store.Place
		for {
			page, err := f.store.Read(f.ctx, 2, after, limits[0], limits[1])
			f.must(err)
			bytes := 0
			for i, e := range page {
				if bytes >= limits[1] {
					f.Errorf("entry %d of a page that has %d bytes, limit %d", i, bytes, limits[1])
				}
				bytes += len(e.Payload)
			}
			if len(page) > limits[0] {
				f.Errorf("%d entries, limit %d", len(page), limits[0])
			}
			got = append(got, page...)
			if len(page) < limits[0] && bytes < limits[1] {
				break
			}
			after = page[len(page)-1].Place
		}
		f.sameEntries(fmt.Sprint("pages of ", limits), got, all)
	}
	between := store.Place{Ms: all[0].Place.Ms - 1, Seq: 1<<64 - 1}
	page, err := f.store.Read(f.ctx, 2, between, 100, 1<<20)
	f.must(err)
	f.same("after a place between two", len(page), 50)
	page, err = f.store.Read(f.ctx, 2, store.Place{Ms: 1<<64 - 1, Seq: 1<<64 - 1}, 100, 1<<20)
	f.must(err)
	f.same("after all places", len(page), 0)
}

// errEnough ends a Follow from within.
var errEnough = errors.New("enough")

// gathered is what one Follow emitted, checked as it comes.
type gathered struct {
	entries  map[int][]store.Entry
	last     []store.Place
	complete store.Place
	count    int
	wrong    []string
}

func gather(from []store.Place) *gathered {
	return &gathered{entries: make(map[int][]store.Entry), last: slices.Clone(from)}
}

// add checks a round: places grow, and none appears that was said to be complete.
func (g *gathered) add(r store.Round) {
	for p, entries := range r.Entries {
		for _, e := range entries {
			if e.Place.Compare(g.last[p]) <= 0 {
				g.wrong = append(g.wrong, fmt.Sprintf("partition %d: %v after %v", p, e.Place, g.last[p]))
			}
			if e.Place.Compare(g.complete) <= 0 {
				g.wrong = append(g.wrong, fmt.Sprintf("partition %d: %v, complete was %v", p, e.Place, g.complete))
			}
			g.last[p] = e.Place
			g.count++
		}
		g.entries[p] = append(g.entries[p], entries...)
	}
	if r.Complete.Compare(g.complete) < 0 {
		g.wrong = append(g.wrong, fmt.Sprintf("complete fell from %v to %v", g.complete, r.Complete))
	}
	g.complete = r.Complete
}

// follow follows from places until there are n entries and all is complete.
func (f *fixture) follow(from []store.Place, n int) *gathered {
	f.Helper()
	g := gather(from)
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	err := f.store.Follow(ctx, from, func(r store.Round) error {
		g.add(r)
		if g.count >= n && g.isComplete() {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		f.Errorf("follow ended after %d of %d entries: %v", g.count, n, err)
	}
	for _, w := range g.wrong {
		f.Error(w)
	}
	return g
}

// isComplete: complete has come up to all that was emitted.
func (g *gathered) isComplete() bool {
	for p := range g.entries {
		if g.complete.Compare(g.last[p]) < 0 {
			return false
		}
	}
	return true
}

func followFromAnywhere(f *fixture) {
	for p := range f.opts.Partitions {
		f.fill(p, 10*p, "a")
	}
	total := len(f.stream())
	start := make([]store.Place, f.opts.Partitions)
	g := f.follow(start, total)
	for p := range f.opts.Partitions {
		f.sameEntries("entries from the start", g.entries[p], f.read(p))
	}
	f.same("entries from the end", f.follow(g.last, 0).count, 0)
	for p := range start {
		if all := g.entries[p]; len(all) > 0 {
			start[p] = all[len(all)/2].Place
		}
	}
	half := f.follow(start, 0)
	for p, all := range g.entries {
		f.sameEntries("entries from the middle", half.entries[p], all[len(all)/2+1:])
	}
	// A complete place serves for all partitions at once.
	f.same("entries after complete", f.follow(slices.Repeat([]store.Place{g.complete}, len(start)), 0).count, 0)
}

func followIsWoken(f *fixture) {
	f.fill(1, 3, "before")
	rounds := make(chan store.Round)
	ctx, cancel := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() {
		done <- f.store.Follow(ctx, make([]store.Place, f.opts.Partitions), func(r store.Round) error {
			select {
			case rounds <- r:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	next := func() []store.Entry {
		timeout := time.After(patience)
		for {
			select {
			case r := <-rounds:
				if len(r.Entries) > 0 {
					return slices.Concat(slices.Collect(maps.Values(r.Entries))...)
				}
			case <-timeout:
				f.Fatal("no round came")
			}
		}
	}
	f.same("first round", len(next()), 3)
	for i := range 5 {
		f.fill(i, 2, fmt.Sprint("after", i))
		f.sameEntries("round", next(), f.lastOf(i, 2))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		f.Errorf("follow ended with %v", err)
	}
}

func (f *fixture) lastOf(partition, n int) []store.Entry {
	f.Helper()
	all := f.read(partition)
	return all[len(all)-n:]
}

func followEnds(f *fixture) {
	from := make([]store.Place, f.opts.Partitions)
	if err := f.store.Follow(f.ctx, from, func(store.Round) error { return errEnough }); !errors.Is(err, errEnough) {
		f.Errorf("follow of an empty store, ended by emit: %v", err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	if err := f.store.Follow(ctx, from, func(store.Round) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		f.Errorf("follow ended by its context: %v", err)
	}
}

// followWhileApplying: all partitions apply from two sources at once, and several
// follow: each sees every event once and in order.
func followWhileApplying(f *fixture) {
	const batches, each, readers = 20, 5, 3
	total := f.opts.Partitions * 2 * batches * each
	var writing, reading sync.WaitGroup
	gathers := make([]*gathered, readers)
	for i := range readers {
		reading.Go(func() { gathers[i] = f.follow(make([]store.Place, f.opts.Partitions), total) })
	}
	errs := make(chan error, 2*f.opts.Partitions)
	for p := range f.opts.Partitions {
		for _, lane := range []string{"express", "bulk"} {
			writing.Go(func() {
				errs <- f.pour(store.Source{Node: "node-a", Lane: lane}, p, batches, each)
			})
		}
	}
	writing.Wait()
	reading.Wait()
	close(errs)
	for err := range errs {
		f.must(err)
	}
	for p := range f.opts.Partitions {
		want := f.read(p)
		f.same("entries of a partition", len(want), 2*batches*each)
		for _, g := range gathers {
			f.sameEntries("entries followed", g.entries[p], want)
		}
	}
}

// pour applies batches to a partition, one after the other, and also repeats
// the last event of the batch before.
func (f *fixture) pour(source store.Source, partition, batches, each int) error {
	var from store.Cursor
	for i := range batches {
		b := &store.Batch{Source: source, Partition: partition, From: from, To: cursor(uint64(i) + 1)}
		for j := range each + 1 {
			b.Events = append(b.Events, change(fmt.Sprint(source.Lane, partition, "-", i*each+j), noon, noon))
		}
		if i == batches-1 {
			b.Events = b.Events[:each]
		}
		r, err := f.store.Apply(f.ctx, b)
		if err != nil || !r.Applied {
			return fmt.Errorf("apply batch %d of partition %d: applied %v: %w", i, partition, r.Applied, err)
		}
		from = b.To
	}
	return nil
}

// backlogDelaysNobody: who follows from the start gets of every partition before
// the first one is done, and nothing is said to be complete too early.
func backlogDelaysNobody(f *fixture) {
	for i := range 20 {
		f.fill(0, 1000, fmt.Sprint(i))
	}
	f.fill(f.opts.Partitions-1, 1, "lone")
	lone := f.read(f.opts.Partitions - 1)
	before := 0
	err := f.store.Follow(f.ctx, make([]store.Place, f.opts.Partitions), func(r store.Round) error {
		if got := r.Entries[f.opts.Partitions-1]; len(got) > 0 {
			f.sameEntries("the lone entry", got, lone)
			return errEnough
		}
		before += len(r.Entries[0])
		return nil
	})
	if !errors.Is(err, errEnough) {
		f.Errorf("follow: %v", err)
	}
	if before > 10_000 {
		f.Errorf("%d entries of a backlog came first", before)
	}
	f.follow(make([]store.Place, f.opts.Partitions), 20_001)
}
