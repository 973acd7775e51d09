package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"spillway/dispatch/store"
)

var leaseChecks = []check{
	{name: "LeaseOfOne", run: leaseOfOne},
	{name: "LeaseBegins", run: leaseBegins},
	{name: "LeaseRunsOut", needs: Advance, run: leaseRunsOut},
	{name: "LeaseIsFenced", run: leaseIsFenced},
	{name: "LeasesAreRenewed", needs: Advance, run: leasesAreRenewed},
	{name: "LeasesOpenedAgain", needs: Reopen, run: leasesOpenedAgain},
	{name: "SharesAreApart", run: sharesAreApart},
	{name: "SharesNotKept", run: sharesNotKept},
	{name: "MembersAreAnnounced", run: membersAreAnnounced},
	{name: "MembersGo", needs: Advance, run: membersGo},
	{name: "EndpointStates", run: endpointStates},
	{name: "CancelledDeliveries", run: cancelledDeliveries},
}

// leaseOfOne: one of two has it, until it gives it back; then the other.
func leaseOfOne(f *fixture) {
	s := share("crm", 3)
	first := f.acquire(s, "a")
	if _, err := f.deliveries().Acquire(f.ctx, s, "b", leaseTTL, store.Place{}); !errors.Is(err, store.ErrLeased) {
		f.Fatalf("the other acquires: %v, want ErrLeased", err)
	}
	again := f.acquire(s, "a")
	if again.Token <= first.Token {
		f.Errorf("token %d after %d", again.Token, first.Token)
	}
	f.fenced("by the token before", store.Settlement{Share: s, Token: first.Token, From: first.Cursor, To: first.Cursor})
	f.must(f.deliveries().Release(f.ctx, first)) // not its lease any more
	f.must(f.renewed(again).Err)
	f.must(f.deliveries().Release(f.ctx, again))
	f.fenced("after the release", store.Settlement{Share: s, Token: again.Token, From: again.Cursor, To: again.Cursor})
	other := f.acquire(s, "b")
	if other.Token <= again.Token {
		f.Errorf("token %d after %d", other.Token, again.Token)
	}
}

// leaseBegins: a new share begins where it is told to, an old one where it was.
func leaseBegins(f *fixture) {
	entries := f.events(2, 3, "e")
	acquire := func(endpoint string, start store.Place) store.Lease {
		f.Helper()
		lease, err := f.deliveries().Acquire(f.ctx, share(endpoint, 2), "a", leaseTTL, start)
		f.must(err)
		return lease
	}
	f.same("start at the beginning", acquire("one", store.Place{}).Cursor, store.Place{})
	lease := acquire("two", entries[1].Place)
	f.same("start", lease.Cursor, entries[1].Place)
	f.same("start of one that was leased", acquire("two", entries[0].Place).Cursor, entries[1].Place)
	lease = acquire("two", store.Place{})
	f.settle(&lease, store.Settlement{To: entries[2].Place})
	f.must(f.deliveries().Release(f.ctx, lease))
	f.same("cursor after it moved", acquire("two", store.Place{}).Cursor, entries[2].Place)
	f.same("cursor of the other endpoint", acquire("one", entries[2].Place).Cursor, store.Place{})
}

func leaseRunsOut(f *fixture) {
	s := share("crm", 1)
	entries := f.events(1, 2, "e")
	old := f.acquire(s, "a")
	f.settle(&old, store.Settlement{To: entries[0].Place, Park: parkAll(entries[:1])})
	f.harness.Advance(f.T, leaseTTL-time.Minute)
	if _, err := f.deliveries().Acquire(f.ctx, s, "b", leaseTTL, store.Place{}); !errors.Is(err, store.ErrLeased) {
		f.Fatalf("before its end: %v, want ErrLeased", err)
	}
	f.harness.Advance(f.T, 2*time.Minute)
	lease := f.acquire(s, "b")
	if lease.Token <= old.Token {
		f.Errorf("token %d after %d", lease.Token, old.Token)
	}
	f.same("cursor", lease.Cursor, entries[0].Place)
	f.sameWaiting("taken over", lease, parkedOf(entries[0]).Parked)
	f.checkFenced(old, entries)
	f.sameWaiting("after the old one tried", lease, parkedOf(entries[0]).Parked)
	f.must(f.renewed(lease).Err)
	f.settle(&lease, store.Settlement{To: entries[1].Place})
}

// checkFenced: nothing that the old lease asks for changes anything; entries[0] is
// parked, the cursor stands at it.
func (f *fixture) checkFenced(old store.Lease, entries []store.Entry) {
	f.Helper()
	d := f.deliveries()
	for what, s := range map[string]store.Settlement{
		"cursor": {To: entries[1].Place},
		"park":   {To: entries[1].Place, Park: parkAll(entries[1:2])},
		"done":   {To: old.Cursor, Done: places(entries[:1])},
		"retry":  {To: old.Cursor, Retry: []store.Parked{{Place: entries[0].Place, First: moment(0), Due: moment(0), Attempts: 7}}},
		"dead":   {To: old.Cursor, Dead: []store.Dead{deadOf(entries[0], 0)}},
	} {
		s.Share, s.Token, s.From = old.Share, old.Token, old.Cursor
		f.fenced("by an old token: "+what, s)
	}
	if err := f.renewed(old).Err; !errors.Is(err, store.ErrFenced) {
		f.Errorf("renew by an old token: %v", err)
	}
	f.must(d.Release(f.ctx, old))
	err := d.Waiting(f.ctx, old, func([]store.Parked) error { f.Error("an old token sees what waits"); return nil })
	if !errors.Is(err, store.ErrFenced) {
		f.Errorf("waiting by an old token: %v", err)
	}
	n, err := d.DeadCount(f.ctx, old.Endpoint)
	f.must(err)
	f.same("dead", n, 0)
	if _, err := d.Acquire(f.ctx, old.Share, "c", leaseTTL, store.Place{}); !errors.Is(err, store.ErrLeased) {
		f.Errorf("acquire after an old release: %v, want ErrLeased", err)
	}
}

// leaseIsFenced is the same without time: the lease was given back.
func leaseIsFenced(f *fixture) {
	entries := f.events(4, 2, "e")
	old := f.acquire(share("crm", 4), "a")
	f.settle(&old, store.Settlement{To: entries[0].Place, Park: parkAll(entries[:1])})
	f.must(f.deliveries().Release(f.ctx, old))
	lease := f.acquire(old.Share, "b")
	f.checkFenced(old, entries)
	f.sameWaiting("after the old one tried", lease, parkedOf(entries[0]).Parked)
	f.same("cursor", f.acquire(old.Share, "b").Cursor, entries[0].Place)
}

func leasesAreRenewed(f *fixture) {
	entries := f.events(0, 1, "e")
	kept, moved, lost := f.acquire(share("one", 0), "a"), f.acquire(share("two", 0), "a"), f.acquire(share("three", 0), "a")
	f.must(f.deliveries().Release(f.ctx, lost))
	f.acquire(lost.Share, "b")
	stale := moved
	f.settle(&moved, store.Settlement{To: entries[0].Place})
	never := store.Lease{Share: share("never", 0), Token: 1}
	for range 3 {
		f.harness.Advance(f.T, leaseTTL*2/3)
		got, err := f.deliveries().Renew(f.ctx, []store.Lease{lost, kept, stale, moved, never}, leaseTTL)
		f.must(err)
		for i, want := range []bool{true, false, true, false, true} {
			if fenced := errors.Is(got[i].Err, store.ErrFenced); fenced != want || !fenced && got[i].Err != nil {
				f.Errorf("lease %d: %v, want it fenced: %v", i, got[i].Err, want)
			}
		}
	}
	for _, lease := range []store.Lease{kept, moved} {
		if _, err := f.deliveries().Acquire(f.ctx, lease.Share, "b", leaseTTL, store.Place{}); !errors.Is(err, store.ErrLeased) {
			f.Errorf("a lease that was renewed: %v", err)
		}
	}
	f.acquire(lost.Share, "c") // whose lease nobody renewed
	got, err := f.deliveries().Renew(f.ctx, nil, leaseTTL)
	if err != nil || len(got) != 0 {
		f.Errorf("renew nothing: %v, %v", got, err)
	}
}

func leasesOpenedAgain(f *fixture) {
	entries := f.events(5, 3, "e")
	old := f.acquire(share("crm", 5), "a")
	f.settle(&old, store.Settlement{To: entries[1].Place, Park: parkAll(entries[:1]), Dead: []store.Dead{deadOf(entries[1], 0)}})
	f.store = f.harness.Reopen(f.T)
	lease := f.acquire(old.Share, "a")
	if lease.Token <= old.Token {
		f.Errorf("token %d after %d", lease.Token, old.Token)
	}
	f.same("cursor", lease.Cursor, entries[1].Place)
	f.fenced("by a token from before", store.Settlement{Share: old.Share, Token: old.Token, From: old.Cursor, To: entries[2].Place})
	f.sameWaiting("opened again", lease, parkedOf(entries[0]).Parked)
	f.sameParkedEntries("opened again", old.Share, entries[:1])
	n, err := f.deliveries().DeadCount(f.ctx, "crm")
	f.must(err)
	f.same("dead", n, 1)
}

// sharesAreApart: what is done to one share is seen in no other, however alike
// their names are.
func sharesAreApart(f *fixture) {
	names := []string{"a", "aa", "A", "a-", "a_", "1", "-", "_", strings.Repeat("x", 64), strings.Repeat("x", 63)}
	entries := make([][]store.Entry, f.opts.Partitions)
	leases := make(map[store.Share]store.Lease)
	for p := range entries {
		entries[p] = f.events(p, len(names)+1, "apart")
		for i, name := range names {
			lease := f.acquire(share(name, p), name)
			f.settle(&lease, store.Settlement{
				To:   entries[p][i].Place,
				Park: parkAll(entries[p][:i]), Dead: []store.Dead{deadOf(entries[p][len(names)], 0)},
			})
			leases[lease.Share] = lease
		}
	}
	for i, name := range names {
		for p := range entries {
			s := share(name, p)
			f.sameWaiting(fmt.Sprint(s), leases[s], parkedMeta(parkAll(entries[p][:i]))...)
			f.same("cursor", f.acquire(s, name).Cursor, entries[p][i].Place)
		}
		n, err := f.deliveries().DeadCount(f.ctx, name)
		f.must(err)
		f.same("dead of "+name, n, f.opts.Partitions)
	}
}

func parkedMeta(entries []store.ParkedEntry) []store.Parked {
	out := make([]store.Parked, len(entries))
	for i := range entries {
		out[i] = entries[i].Parked
	}
	return out
}

func sharesNotKept(f *fixture) {
	for _, s := range []store.Share{
		share("", 0), share("a b", 0), share("a:b", 0), share("a\x00", 0), share("{a}", 0), share("é", 0),
		share(strings.Repeat("x", 65), 0), share("a", -1), share("a", f.opts.Partitions),
	} {
		if _, err := f.deliveries().Acquire(f.ctx, s, "a", leaseTTL, store.Place{}); err == nil || errors.Is(err, store.ErrLeased) {
			f.Errorf("share %+v: %v", s, err)
		}
	}
}

func (f *fixture) members(owner string, ttl time.Duration) []string {
	f.Helper()
	got, err := f.deliveries().Members(f.ctx, owner, ttl)
	f.must(err)
	return got
}

func membersAreAnnounced(f *fixture) {
	f.same("one", f.members("b", time.Minute), []string{"b"})
	f.same("two", f.members("a", time.Minute), []string{"a", "b"})
	f.same("two still", f.members("b", time.Minute), []string{"a", "b"})
}

func membersGo(f *fixture) {
	f.members("a", time.Minute)
	f.members("b", 10*time.Minute)
	f.harness.Advance(f.T, 40*time.Second)
	f.same("in time", f.members("a", time.Minute), []string{"a", "b"})
	f.harness.Advance(f.T, 40*time.Second)
	f.same("announced again", f.members("b", 10*time.Minute), []string{"a", "b"})
	f.harness.Advance(f.T, 40*time.Second)
	f.same("over", f.members("b", 10*time.Minute), []string{"b"})
}

func endpointStates(f *fixture) {
	d := f.deliveries()
	states, err := d.States(f.ctx)
	f.must(err)
	f.same("states at first", len(states), 0)
	paused := store.EndpointState{Paused: true, Reason: "410 gone", Since: moment(0)}
	f.must(d.SetState(f.ctx, "one", paused))
	f.must(d.SetState(f.ctx, strings.Repeat("x", 64), paused))
	f.must(d.SetState(f.ctx, "two", paused))
	f.must(d.SetState(f.ctx, "two", store.EndpointState{}))
	if err := d.SetState(f.ctx, "not a name", paused); err == nil {
		f.Error("a state of a name that is none")
	}
	states, err = d.States(f.ctx)
	f.must(err)
	for _, name := range []string{"one", strings.Repeat("x", 64)} {
		got := states[name]
		if !got.Since.Equal(paused.Since) || got.Reason != paused.Reason || !got.Paused {
			f.Errorf("state of %s: %+v", name, got)
		}
	}
	f.same("state set back", states["two"], store.EndpointState{})
}

// cancelledDeliveries: a call whose context is over does nothing.
func cancelledDeliveries(f *fixture) {
	d := f.deliveries()
	entries := f.events(6, 1, "e")
	lease := f.acquire(share("crm", 6), "a")
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, acquired := d.Acquire(ctx, share("never", 6), "a", leaseTTL, entries[0].Place)
	_, announced := d.Members(ctx, "z", leaseTTL)
	_, renewed := d.Renew(ctx, []store.Lease{lease}, leaseTTL)
	_, listed := d.DeadList(ctx, "crm", nil, 10)
	for what, err := range map[string]error{
		"acquire": acquired, "members": announced, "renew": renewed, "dead list": listed,
		"settle":  d.Settle(ctx, store.Settlement{Share: lease.Share, Token: lease.Token, From: lease.Cursor, To: entries[0].Place}),
		"waiting": d.Waiting(ctx, lease, func([]store.Parked) error { return nil }),
		"state":   d.SetState(ctx, "crm", store.EndpointState{Paused: true}),
		"release": d.Release(ctx, lease),
	} {
		if !errors.Is(err, context.Canceled) {
			f.Errorf("%s: %v", what, err)
		}
	}
	f.must(f.renewed(lease).Err)
	f.same("a share never leased", f.acquire(share("never", 6), "a").Cursor, store.Place{})
	f.same("members", f.members("a", leaseTTL), []string{"a"})
}
