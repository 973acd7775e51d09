package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

var cursorChecks = []check{
	{name: "EmptyStore", run: emptyStore},
	{name: "LostReply", run: lostReply},
	{name: "DoubleRun", run: doubleRun},
	{name: "CursorDiffers", run: cursorDiffers},
	{name: "BatchWithoutEvents", run: batchWithoutEvents},
	{name: "SourcesAreIndependent", run: sourcesAreIndependent},
	{name: "PartitionsAreIndependent", run: partitionsAreIndependent},
	{name: "CancelledApply", run: cancelledApply},
}

func emptyStore(f *fixture) {
	f.same("partitions", f.store.Partitions(), f.opts.Partitions)
	cursors, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.same("cursors", cursors, make([]store.Cursor, f.opts.Partitions))
	bounds, _, err := f.store.Bounds(f.ctx)
	f.must(err)
	for _, b := range bounds {
		f.same("last place", b.Last, b.Trimmed)
	}
	f.same("entries", len(f.stream()), 0)
}

// lostReply applies a batch again as if its answer had never come.
func lostReply(f *fixture) {
	e := change("one", noon, noon)
	b := f.batch(express, f.partition(&e), e)
	f.apply(b)
	r, err := f.store.Apply(f.ctx, b)
	f.must(err)
	f.same("second answer", r, store.Result{Stored: b.To})
	f.same("entries", len(f.stream()), 1)
}

// doubleRun runs one batch several times at once: one of them takes effect.
func doubleRun(f *fixture) {
	e := change("one", noon, noon)
	b := f.batch(express, f.partition(&e), e)
	var wg sync.WaitGroup
	results := make([]store.Result, 8)
	errs := make([]error, len(results))
	for i := range results {
		wg.Go(func() { results[i], errs[i] = f.store.Apply(f.ctx, b) })
	}
	wg.Wait()
	f.must(errors.Join(errs...))
	applied := 0
	for _, r := range results {
		if r.Applied {
			applied++
		}
		f.same("stored", r.Stored, b.To)
	}
	f.same("times applied", applied, 1)
	f.same("entries", len(f.stream()), 1)
}

func cursorDiffers(f *fixture) {
	first := change("one", noon, noon)
	p := f.partition(&first)
	f.seq = 10
	stored := f.apply(f.batch(express, p, first)).Stored
	for name, from := range map[string]store.Cursor{
		"none":        {},
		"lower":       cursor(stored.Seq - 1),
		"higher":      cursor(stored.Seq + 1),
		"another log": {Seq: stored.Seq, Hash: stored.Hash + 1},
	} {
		f.sub(name, func(f *fixture) {
			b := &store.Batch{Source: express, Partition: p, From: from, To: cursor(100),
				Events: []event.Event{change("two", noon, noon)}}
			r, err := f.store.Apply(f.ctx, b)
			f.must(err)
			f.same("answer", r, store.Result{Stored: stored})
		})
	}
	f.same("entries", len(f.stream()), 1)
	// The missing cursor is told of a partition that never had a batch.
	other := (p + 1) % f.opts.Partitions
	r, err := f.store.Apply(f.ctx, &store.Batch{Source: express, Partition: other, From: stored, To: cursor(100)})
	f.must(err)
	f.same("answer of an empty partition", r, store.Result{})
	// What was refused was not remembered either.
	f.expect(express, []event.Event{change("two", noon, noon)}, store.Fresh)
}

func batchWithoutEvents(f *fixture) {
	b := f.batch(express, 3)
	f.apply(b)
	cursors, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.same("cursors", cursors, f.cursors(express))
	bounds, _, err := f.store.Bounds(f.ctx)
	f.must(err)
	f.same("last place", bounds[3].Last, bounds[3].Trimmed)
}

func sourcesAreIndependent(f *fixture) {
	sources := []store.Source{
		express,
		{Node: express.Node, Lane: "bulk"},
		{Node: "node-b", Lane: express.Lane},
		{Node: "node-b", Lane: "bulk"},
	}
	e := change("one", noon, noon)
	for i, source := range sources {
		want := store.Duplicate
		if i == 0 {
			want = store.Fresh
		}
		f.expect(source, []event.Event{e}, want)
	}
	for _, source := range sources {
		cursors, err := f.store.Cursors(f.ctx, source)
		f.must(err)
		f.same("cursors of "+source.Lane, cursors, f.cursors(source))
	}
	cursors, err := f.store.Cursors(f.ctx, store.Source{Node: "node-c", Lane: "bulk"})
	f.must(err)
	f.same("cursors of a new node", cursors, make([]store.Cursor, f.opts.Partitions))
}

func partitionsAreIndependent(f *fixture) {
	for p := range f.opts.Partitions {
		e := change(fmt.Sprint("in ", p), noon, noon)
		f.apply(f.batch(express, p, e))
		f.same("entries", len(f.read(p)), 1)
	}
	cursors, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	f.same("cursors", cursors, f.cursors(express))
}

// cancelledApply gives up a call; whatever became of it, applying again is safe,
// and the other partitions do not notice.
func cancelledApply(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	e := change("one", noon, noon)
	p := f.partition(&e)
	b := f.batch(express, p, e)
	if _, err := f.store.Apply(ctx, b); !errors.Is(err, context.Canceled) {
		f.Errorf("apply with an ended context: %v", err)
	}
	f.apply(f.batch(express, (p+1)%f.opts.Partitions, change("elsewhere", noon, noon)))
	r, err := f.store.Apply(f.ctx, b)
	f.must(err)
	f.same("stored", r.Stored, b.To)
	f.same("entries", len(f.read(p)), 1)
}
