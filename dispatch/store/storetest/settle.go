package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spillway/dispatch/store"
)

var settleChecks = []check{
	{name: "SettledInOneStep", run: settledInOneStep},
	{name: "SettledFromElsewhere", run: settledFromElsewhere},
	{name: "SettledTwice", run: settledTwice},
	{name: "SettledAtOnce", run: settledAtOnce},
	{name: "SettledByMany", run: settledByMany},
	{name: "LosesSettlements", needs: Lose, run: losesSettlements},
}

var parkedChecks = []check{
	{name: "ParkedEntries", run: parkedEntries},
	{name: "ParkedAndGone", run: parkedAndGone},
	{name: "ParkedIsNotTrimmed", run: parkedIsNotTrimmed, opts: func(o *Options) { o.Retain = 512 }},
	{name: "ParkedAndBig", run: parkedAndBig},
	{name: "WaitingThousands", run: waitingThousands},
	{name: "WaitingIsStopped", run: waitingIsStopped},
	{name: "StreamsAreUntouched", run: streamsAreUntouched},
}

// settledInOneStep: all parts of a settlement take effect, the cursor with them.
func settledInOneStep(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 6, "e")
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[3].Place, Park: parkAll(entries[:4])})
	f.sameWaiting("parked", lease, parkedMeta(parkAll(entries[:4]))...)

	retry := store.Parked{Place: entries[1].Place, Contact: 5, First: moment(0), Due: moment(time.Hour), Attempts: 2}
	f.settle(&lease, store.Settlement{
		To:    entries[5].Place,
		Park:  parkAll(entries[4:5]),
		Retry: []store.Parked{retry},
		Done:  places(entries[:1]),
		Dead:  []store.Dead{deadOf(entries[2], time.Minute), deadOf(entries[5], time.Minute)},
	})
	f.sameWaiting("settled", lease, retry, parkedOf(entries[3]).Parked, parkedOf(entries[4]).Parked)
	f.sameParkedEntries("events", s, []store.Entry{entries[1], entries[3], entries[4]})
	f.sameDead("crm", s, deadOf(entries[2], time.Minute), deadOf(entries[5], time.Minute))
	f.same("cursor", f.acquire(s, "a").Cursor, entries[5].Place)
}

// settledFromElsewhere: another cursor than the stored one changes nothing.
func settledFromElsewhere(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 4, "e")
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[1].Place, Park: parkAll(entries[:2])})
	for _, from := range []store.Place{{}, entries[0].Place, entries[2].Place} {
		f.fenced(fmt.Sprint("from ", from), store.Settlement{
			Share: s, Token: lease.Token, From: from, To: entries[3].Place,
			Park: parkAll(entries[2:3]), Done: places(entries[:1]), Dead: []store.Dead{deadOf(entries[1], 0)},
			Retry: []store.Parked{{Place: entries[1].Place, Attempts: 3, First: moment(0), Due: moment(0)}},
		})
	}
	f.sameWaiting("after it", lease, parkedMeta(parkAll(entries[:2]))...)
	f.sameDead("crm", s)
	f.must(f.renewed(lease).Err)
	f.fenced("a share never leased", store.Settlement{Share: share("never", 2), Token: lease.Token, To: entries[0].Place})
}

// settledTwice asks for the same again, as after an answer that never came.
func settledTwice(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 3, "e")
	lease := f.acquire(s, "a")
	first := store.Settlement{
		Share: s, Token: lease.Token, From: lease.Cursor, To: entries[1].Place,
		Park: parkAll(entries[:1]), Dead: []store.Dead{deadOf(entries[1], 0)},
	}
	f.settle(&lease, first)
	f.fenced("the same again", first)
	// Where the cursor stays, a second time says the same as the first.
	second := store.Settlement{Done: places(entries[:1]), Dead: []store.Dead{deadOf(entries[2], 0)}}
	f.settle(&lease, second)
	f.settle(&lease, second)
	f.sameWaiting("in the end", lease)
	f.sameDead("crm", s, deadOf(entries[1], 0), deadOf(entries[2], 0))
}

// settledAtOnce: of many that go on from one cursor, one takes effect.
func settledAtOnce(f *fixture) {
	entries := f.events(1, 8, "e")
	lease := f.acquire(share("crm", 1), "a")
	var wg sync.WaitGroup
	var took atomic.Int64
	errs := make([]error, len(entries))
	for i := range entries {
		wg.Go(func() {
			err := f.deliveries().Settle(f.ctx, store.Settlement{
				Share: lease.Share, Token: lease.Token, From: lease.Cursor, To: entries[i].Place, Park: parkAll(entries[i : i+1]),
			})
			if err == nil {
				took.Add(1)
			} else if !errors.Is(err, store.ErrFenced) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	f.must(errors.Join(errs...))
	f.same("took effect", took.Load(), 1)
	f.same("wait", len(f.waiting(lease)), 1)
}

// settledByMany: receivers take shares from one another, and each event is parked
// by one of them.
func settledByMany(f *fixture) {
	const receivers, n = 3, 20
	entries := make([][]store.Entry, f.opts.Partitions)
	for p := range entries {
		entries[p] = f.events(p, n, "many")
	}
	var parked atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, receivers*len(entries))
	for i := range errs {
		p, owner := i%len(entries), fmt.Sprint("r", i/len(entries))
		wg.Go(func() { errs[i] = f.parkInTurns(share("crm", p), owner, entries[p], &parked) })
	}
	wg.Wait()
	f.must(errors.Join(errs...))
	f.same("parked", parked.Load(), n*len(entries))
	for p := range entries {
		lease := f.acquire(share("crm", p), "a")
		f.sameWaiting("in the end", lease, parkedMeta(parkAll(entries[p]))...)
	}
}

// parkInTurns parks the entries after the cursor, one a lease, until all are.
func (f *fixture) parkInTurns(s store.Share, owner string, entries []store.Entry, parked *atomic.Int64) error {
	for {
		lease, err := f.deliveries().Acquire(f.ctx, s, owner, leaseTTL, store.Place{})
		if errors.Is(err, store.ErrLeased) {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		if err != nil {
			return err
		}
		i := slices.IndexFunc(entries, func(e store.Entry) bool { return e.Place.Compare(lease.Cursor) > 0 })
		if i >= 0 {
			err = f.deliveries().Settle(f.ctx, store.Settlement{
				Share: s, Token: lease.Token, From: lease.Cursor, To: entries[i].Place, Park: parkAll(entries[i : i+1]),
			})
			parked.Add(1)
		}
		if err := errors.Join(err, f.deliveries().Release(f.ctx, lease)); err != nil || i < 0 {
			return err
		}
	}
}

// losesSettlements: whatever the crash took, a share's cursor and what is parked
// of it agree, and it reaches no further than the events.
func losesSettlements(f *fixture) {
	cursors := make([]store.Place, f.opts.Partitions)
	entries := make([][]store.Entry, f.opts.Partitions)
	for p := range cursors {
		entries[p] = f.events(p, 10, "kept")
	}
	_, err := f.store.Cursors(f.ctx, express)
	f.must(err)
	for p := range cursors {
		entries[p] = append(entries[p], f.events(p, 10, "lost")...)
		lease := f.acquire(share("crm", p), "a")
		for i, e := range entries[p] {
			f.settle(&lease, store.Settlement{To: e.Place, Park: parkAll(entries[p][i : i+1])})
		}
	}
	f.store = f.harness.Lose(f.T)
	if f.harness.Advance != nil {
		f.harness.Advance(f.T, 2*leaseTTL)
	}
	for p, b := range f.bounds() {
		lease := f.acquire(share("crm", p), "b")
		if lease.Cursor.Compare(b.Last) > 0 {
			f.Errorf("the cursor is %v, the stream ends at %v", lease.Cursor, b.Last)
		}
		n := 0
		for n < len(entries[p]) && entries[p][n].Place.Compare(lease.Cursor) <= 0 {
			n++
		}
		f.sameWaiting("up to the cursor", lease, parkedMeta(parkAll(entries[p][:n]))...)
		f.sameParkedEntries("up to the cursor", lease.Share, entries[p][:n])
	}
}

// parkedEntries are given in the order of the places asked for.
func parkedEntries(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 5, "e")
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[4].Place, Park: parkAll([]store.Entry{entries[0], entries[2], entries[4]})})
	got, err := f.deliveries().Entries(f.ctx, s, places([]store.Entry{entries[4], entries[1], entries[0], entries[3], entries[2]}))
	f.must(err)
	f.sameEntries("entries", got, []store.Entry{entries[4], {}, entries[0], {}, entries[2]})
	got, err = f.deliveries().Entries(f.ctx, share("never", 2), places(entries[:1]))
	f.must(err)
	f.sameEntries("of a share never leased", got, []store.Entry{{}})
	got, err = f.deliveries().Entries(f.ctx, s, nil)
	f.must(err)
	f.same("none", len(got), 0)
}

// parkedAndGone: what is not parked any more does not come back by a retry.
func parkedAndGone(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 2, "e")
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[1].Place, Park: parkAll(entries)})
	f.settle(&lease, store.Settlement{Done: places(entries[:1]), Dead: []store.Dead{deadOf(entries[1], 0)}})
	f.settle(&lease, store.Settlement{Retry: parkedMeta(parkAll(entries)), Done: places(entries)})
	f.settle(&lease, store.Settlement{Retry: parkedMeta(parkAll(entries))})
	f.sameWaiting("gone", lease)
	got, err := f.deliveries().Entries(f.ctx, s, places(entries))
	f.must(err)
	f.sameEntries("gone", got, make([]store.Entry, 2))
	f.sameDead("crm", s, deadOf(entries[1], 0))
}

func parkedIsNotTrimmed(f *fixture) {
	s := share("crm", 2)
	entries := f.events(2, 5, "first")
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[3].Place, Park: parkAll(entries[:4])})
	f.settle(&lease, store.Settlement{To: entries[4].Place, Dead: []store.Dead{deadOf(entries[3], 0), deadOf(entries[4], 0)}})
	deadline := time.Now().Add(patience)
	for i := 0; f.bounds()[2].Trimmed.Compare(entries[4].Place) < 0; i++ {
		if time.Now().After(deadline) {
			f.Fatal("the stream is not trimmed")
		}
		f.fill(2, 256, fmt.Sprint("more", i))
	}
	f.sameWaiting("trimmed", lease, parkedMeta(parkAll(entries[:3]))...)
	f.sameParkedEntries("trimmed", s, entries[:3])
	f.sameDead("crm", s, deadOf(entries[3], 0), deadOf(entries[4], 0))
}

// parkedAndBig: an event as large as a webhook may be.
func parkedAndBig(f *fixture) {
	big := change("big", noon, noon)
	big.Payload = fmt.Appendf(nil, `{"value":%q}`, bytes.Repeat([]byte("x"), 3<<20))
	p := f.partition(&big)
	f.apply(f.batch(express, p, big))
	entries := f.lastOf(p, 1)
	s := share("crm", p)
	lease := f.acquire(s, "a")
	f.settle(&lease, store.Settlement{To: entries[0].Place, Park: parkAll(entries)})
	f.sameParkedEntries("big", s, entries)
	f.settle(&lease, store.Settlement{Dead: []store.Dead{deadOf(entries[0], 0)}})
	f.sameDead("crm", s, deadOf(entries[0], 0))
}

// waitingThousands: all that waits is given, also while some of it is settled.
func waitingThousands(f *fixture) {
	const n = 3000
	s := share("crm", 2)
	lease := f.acquire(s, "a")
	var entries []store.Entry
	for i := range n / 500 {
		some := f.events(2, 500, fmt.Sprint("e", i))
		f.settle(&lease, store.Settlement{To: some[len(some)-1].Place, Park: parkAll(some)})
		entries = append(entries, some...)
	}
	f.sameWaiting("all", lease, parkedMeta(parkAll(entries))...)

	// Of every four, one is done meanwhile, one fails again, two stay as they are.
	retried := func(e store.Entry) store.Parked {
		p := parkedOf(e).Parked
		p.Attempts = 2
		return p
	}
	var wg sync.WaitGroup
	var settled error
	wg.Go(func() {
		for i := 0; i < n && settled == nil; i += 20 {
			change := store.Settlement{Share: s, Token: lease.Token, From: lease.Cursor, To: lease.Cursor}
			for j := i; j < i+20; j += 4 {
				change.Done = append(change.Done, entries[j].Place)
				change.Retry = append(change.Retry, retried(entries[j+1]))
			}
			settled = f.deliveries().Settle(f.ctx, change)
		}
	})
	for range 3 {
		got := f.waiting(lease)
		for i, e := range entries {
			p, was := got[e.Place], parkedOf(e).Parked
			switch {
			case i%4 == 0 && p.Place == store.Place{}, i%4 == 1 && sameParked(p, retried(e)), sameParked(p, was):
			default:
				f.Fatalf("meanwhile, of %d: %+v", i, p)
			}
		}
	}
	wg.Wait()
	f.must(settled)
	got := f.waiting(lease)
	f.same("afterwards", len(got), n*3/4)
	for i, e := range entries {
		if want := retried(e); i%4 == 1 && !sameParked(got[e.Place], want) {
			f.Fatalf("of %d: %+v, want %+v", i, got[e.Place], want)
		}
	}
}

func waitingIsStopped(f *fixture) {
	entries := f.events(2, 2000, "e")
	lease := f.acquire(share("crm", 2), "a")
	f.settle(&lease, store.Settlement{To: entries[len(entries)-1].Place, Park: parkAll(entries)})
	enough := errors.New("enough")
	calls := 0
	stop := func([]store.Parked) error { calls++; return enough }
	if err := f.deliveries().Waiting(f.ctx, lease, stop); !errors.Is(err, enough) || calls != 1 {
		f.Errorf("emit returned an error: %v after %d calls", err, calls)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	err := f.deliveries().Waiting(ctx, lease, func([]store.Parked) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		f.Errorf("cancelled meanwhile: %v", err)
	}
}

// streamsAreUntouched: deliveries change neither events nor cursors of the log.
func streamsAreUntouched(f *fixture) {
	for p := range f.opts.Partitions {
		f.fill(p, 4, "e")
	}
	entries, bounds, cursors := f.stream(), f.bounds(), f.stored(express)
	for p := range f.opts.Partitions {
		own := f.read(p)
		lease := f.acquire(share("crm", p), "a")
		f.settle(&lease, store.Settlement{
			To: own[2].Place, Park: parkAll(own[:2]), Dead: []store.Dead{deadOf(own[2], 0)}, Done: places(own[3:]),
		})
		f.settle(&lease, store.Settlement{Done: places(own[:1])})
		f.must(f.deliveries().Release(f.ctx, lease))
	}
	dead, err := f.deliveries().DeadList(f.ctx, "crm", nil, 100)
	f.must(err)
	_, err = f.deliveries().DeadRetry(f.ctx, "crm", dead[:1])
	f.must(err)
	_, err = f.deliveries().DeadForget(f.ctx, "crm", time.Now())
	f.must(err)
	f.sameEntries("streams", f.stream(), entries)
	f.same("bounds", f.bounds(), bounds)
	f.same("cursors", f.stored(express), cursors)
}
