package storetest

import (
	"time"

	"spillway/dispatch/store"
)

var deadChecks = []check{
	{name: "DeadInPages", run: deadInPages},
	{name: "DeadTriedAgain", run: deadTriedAgain},
	{name: "DeadForgotten", run: deadForgotten},
	{name: "DeadOfNobody", run: deadOfNobody},
}

// sameDead compares all that is dead of an endpoint; want is of one share.
func (f *fixture) sameDead(endpoint string, s store.Share, want ...store.Dead) {
	f.Helper()
	for i := range want {
		want[i].Share = s
	}
	got, err := f.deliveries().DeadList(f.ctx, endpoint, nil, 1000)
	f.must(err)
	f.sameDeadList("dead of "+endpoint, got, want)
	n, err := f.deliveries().DeadCount(f.ctx, endpoint)
	f.must(err)
	f.same("dead counted of "+endpoint, n, len(want))
}

func (f *fixture) sameDeadList(what string, got, want []store.Dead) {
	f.Helper()
	if len(got) != len(want) {
		f.Fatalf("%s: %d, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Share != w.Share || !sameParked(g.Parked, w.Parked) || g.Reason != w.Reason || !g.Died.Equal(w.Died) ||
			differ([]store.Entry{g.Entry}, []store.Entry{w.Entry}) >= 0 {
			f.Errorf("%s, %d: %.300v\nwant %.300v", what, i, g, w)
		}
	}
}

// kill gives n events of each of some partitions up, the first of each at died, and
// each a second after the one before; in the order of the list.
func (f *fixture) kill(endpoint string, n int, died time.Duration, partitions ...int) []store.Dead {
	f.Helper()
	var all []store.Dead
	for _, p := range partitions {
		entries := f.events(p, n, endpoint)
		lease := f.acquire(share(endpoint, p), "a")
		var dead []store.Dead
		for i, e := range entries {
			d := deadOf(e, died+time.Duration(i)*time.Second)
			d.Share = lease.Share
			dead = append(dead, d)
		}
		f.settle(&lease, store.Settlement{To: entries[n-1].Place, Dead: dead})
		all = append(all, dead...)
	}
	return all
}

func deadInPages(f *fixture) {
	want := f.kill("crm", 7, 0, 1, 2, 5)
	f.kill("crm2", 3, 0, 1, 2)
	f.kill("cr", 3, 0, 1)
	for _, limit := range []int{1, 2, 7, 10, 21, 100} {
		var got []store.Dead
		var after *store.Dead
		for {
			page, err := f.deliveries().DeadList(f.ctx, "crm", after, limit)
			f.must(err)
			if len(page) > limit {
				f.Fatalf("a page of %d, limit %d", len(page), limit)
			}
			if len(page) == 0 || len(got) > len(want) {
				break // or the pages would go round
			}
			got = append(got, page...)
			after = &page[len(page)-1]
		}
		f.sameDeadList("pages", got, want)
	}
	// A page goes on where the last one ended, also when that is there no more.
	n, err := f.deliveries().DeadRetry(f.ctx, "crm", want[3:4])
	f.must(err)
	f.same("tried again", n, 1)
	rest, err := f.deliveries().DeadList(f.ctx, "crm", &want[3], 100)
	f.must(err)
	f.sameDeadList("after one that is gone", rest, want[4:])
}

func deadTriedAgain(f *fixture) {
	d := f.deliveries()
	dead := f.kill("crm", 4, 0, 1, 3)
	lease, other := f.acquire(share("crm", 1), "a"), f.acquire(share("crm", 3), "a")
	before := time.Now().Add(-time.Second)
	n, err := d.DeadRetry(f.ctx, "crm", dead[1:3])
	f.must(err)
	f.same("parked", n, 2)
	if got := f.renewed(lease); got.Err != nil || got.Changed <= lease.Changed {
		f.Errorf("renewed %+v, changed was %d", got, lease.Changed)
	}
	f.same("changed of another share", f.renewed(other).Changed, other.Changed)

	waiting := f.waiting(lease)
	f.same("waiting", len(waiting), 2)
	for _, w := range dead[1:3] {
		g := waiting[w.Place]
		if g.Contact != w.Contact || g.Attempts != 0 || g.Due.After(time.Now().Add(time.Second)) || g.First.Before(before) {
			f.Errorf("parked again: %+v, dead was %+v", g, w)
		}
	}
	f.sameParkedEntries("events", lease.Share, []store.Entry{dead[1].Entry, dead[2].Entry})
	left, err := d.DeadList(f.ctx, "crm", nil, 100)
	f.must(err)
	f.sameDeadList("left", left, append(dead[:1:1], dead[3:]...))

	// What is dead no more is left out, and a share of which nothing was parked is
	// not changed. The lease still settles: the cursor has not moved.
	changed := f.renewed(lease).Changed
	n, err = d.DeadRetry(f.ctx, "crm", dead[1:3])
	f.must(err)
	f.same("parked again", n, 0)
	f.same("changed", f.renewed(lease).Changed, changed)
	n, err = d.DeadRetry(f.ctx, "crm", dead)
	f.must(err)
	f.same("the others", n, len(dead)-2)
	f.settle(&lease, store.Settlement{Done: []store.Place{dead[0].Place, dead[1].Place, dead[2].Place, dead[3].Place}})
	f.sameWaiting("delivered", lease)
	f.same("of the other share", len(f.waiting(other)), 4)
	f.sameDead("crm", lease.Share)
	f.same("changed at the next lease", f.acquire(lease.Share, "a").Changed > changed, true)
}

func deadForgotten(f *fixture) {
	want := f.kill("crm", 4, time.Minute, 1, 3)
	others := f.kill("crm-2", 2, 0, 1)
	n, err := f.deliveries().DeadForget(f.ctx, "crm", moment(time.Minute))
	f.must(err)
	f.same("forgotten before all", n, 0)
	n, err = f.deliveries().DeadForget(f.ctx, "crm", moment(time.Minute+2*time.Second))
	f.must(err)
	f.same("forgotten", n, 4)
	left, err := f.deliveries().DeadList(f.ctx, "crm", nil, 100)
	f.must(err)
	f.sameDeadList("left", left, append(want[2:4:4], want[6:]...))
	count, err := f.deliveries().DeadCount(f.ctx, "crm")
	f.must(err)
	f.same("counted", count, 4)
	n, err = f.deliveries().DeadRetry(f.ctx, "crm", want[:2])
	f.must(err)
	f.same("forgotten and tried again", n, 0)
	n, err = f.deliveries().DeadForget(f.ctx, "crm", time.Now())
	f.must(err)
	f.same("forgotten at last", n, 4)
	f.sameDead("crm", share("crm", 1))
	f.sameDead("crm-2", share("crm-2", 1), others...)
}

// deadOfNobody: an endpoint that never was has none.
func deadOfNobody(f *fixture) {
	d := f.deliveries()
	f.sameDead("nobody", share("nobody", 0))
	n, err := d.DeadForget(f.ctx, "nobody", time.Now())
	f.must(err)
	f.same("forgotten", n, 0)
	ghost := deadOf(f.events(0, 1, "e")[0], 0)
	ghost.Share = share("nobody", 0)
	n, err = d.DeadRetry(f.ctx, "nobody", []store.Dead{ghost})
	f.must(err)
	f.same("tried again", n, 0)
	if _, err := d.DeadCount(f.ctx, "no name"); err == nil {
		f.Error("dead of a name that is none are counted")
	}
}
