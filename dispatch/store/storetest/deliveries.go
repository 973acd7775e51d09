package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"spillway/dispatch/store"
)

// DeliveriesStore is a Store that keeps outgoing deliveries besides.
type DeliveriesStore interface {
	Store
	store.Deliveries
}

// Deliveries holds the stores that open makes, each a DeliveriesStore, to what
// store.Deliveries promises. Leases and announcements run out by Advance.
func Deliveries(t *testing.T, open func(t *testing.T, opts Options) *Harness) {
	hold(t, open, slices.Concat(leaseChecks, settleChecks, parkedChecks, deadChecks))
}

// The lease's time in most checks: none comes near to its end by itself.
const leaseTTL = 10 * time.Minute

// deliveries is the store's other side.
func (f *fixture) deliveries() store.Deliveries {
	f.Helper()
	d, ok := f.store.(DeliveriesStore)
	if !ok {
		f.Fatalf("%T keeps no deliveries", f.store)
	}
	return d
}

func share(endpoint string, partition int) store.Share {
	return store.Share{Endpoint: endpoint, Partition: partition}
}

// acquire takes a share that has to be free.
func (f *fixture) acquire(s store.Share, owner string) store.Lease {
	f.Helper()
	lease, err := f.deliveries().Acquire(f.ctx, s, owner, leaseTTL, store.Place{})
	f.must(err)
	f.same("leased share", lease.Share, s)
	return lease
}

// renewed renews one lease.
func (f *fixture) renewed(lease store.Lease) store.Renewed {
	f.Helper()
	got, err := f.deliveries().Renew(f.ctx, []store.Lease{lease}, leaseTTL)
	f.must(err)
	if len(got) != 1 {
		f.Fatalf("%d answers for one lease", len(got))
	}
	return got[0]
}

// settle makes a settlement that has to take effect, and moves the lease on.
func (f *fixture) settle(lease *store.Lease, s store.Settlement) {
	f.Helper()
	s.Share, s.Token, s.From = lease.Share, lease.Token, lease.Cursor
	if s.To == (store.Place{}) {
		s.To = s.From
	}
	f.must(f.deliveries().Settle(f.ctx, s))
	lease.Cursor = s.To
}

// fenced makes a settlement that has to be refused.
func (f *fixture) fenced(what string, s store.Settlement) {
	f.Helper()
	if err := f.deliveries().Settle(f.ctx, s); !errors.Is(err, store.ErrFenced) {
		f.Errorf("settle %s: %v, want ErrFenced", what, err)
	}
}

// moment is a time as precise as stores keep it.
func moment(d time.Duration) time.Time { return noon.Add(d).Truncate(time.Millisecond) }

// parkedOf is an entry that waits, as it was first tried and failed once.
func parkedOf(e store.Entry) store.ParkedEntry {
	return store.ParkedEntry{Entry: e, Parked: store.Parked{
		Place: e.Place, Contact: 0xfedcba9876543210, First: moment(0), Due: moment(time.Second), Attempts: 1,
	}}
}

func parkAll(entries []store.Entry) []store.ParkedEntry {
	parked := make([]store.ParkedEntry, len(entries))
	for i, e := range entries {
		parked[i] = parkedOf(e)
	}
	return parked
}

// deadOf is an entry that was given up after a time.
func deadOf(e store.Entry, after time.Duration) store.Dead {
	p := parkedOf(e).Parked
	p.Attempts = 9
	return store.Dead{Parked: p, Entry: e, Reason: "status 400", Died: moment(after)}
}

// events applies n events to a partition and gives their entries.
func (f *fixture) events(partition, n int, name string) []store.Entry {
	f.Helper()
	f.fill(partition, n, name)
	return f.lastOf(partition, n)
}

// waiting gives all that is parked, by place. Pieces may come in any order, and a
// piece twice.
func (f *fixture) waiting(lease store.Lease) map[store.Place]store.Parked {
	f.Helper()
	all := make(map[store.Place]store.Parked)
	f.must(f.deliveries().Waiting(f.ctx, lease, func(some []store.Parked) error {
		if len(some) == 0 || len(some) > 1000 {
			f.Errorf("a piece of %d", len(some))
		}
		for _, p := range some {
			all[p.Place] = p
		}
		clear(some) // it is the caller's until it returns
		return nil
	}))
	return all
}

// sameWaiting compares what is parked.
func (f *fixture) sameWaiting(what string, lease store.Lease, want ...store.Parked) {
	f.Helper()
	got := f.waiting(lease)
	for _, w := range want {
		if g := got[w.Place]; !sameParked(g, w) {
			f.Errorf("%s: %+v waits, want %+v", what, g, w)
		}
	}
	f.same(what+": how many wait", len(got), len(want))
}

func sameParked(a, b store.Parked) bool {
	return a.Place == b.Place && a.Contact == b.Contact && a.Attempts == b.Attempts &&
		a.First.Equal(b.First) && a.Due.Equal(b.Due)
}

// sameParkedEntries checks that the events of parked deliveries are those given.
func (f *fixture) sameParkedEntries(what string, s store.Share, want []store.Entry) {
	f.Helper()
	got, err := f.deliveries().Entries(f.ctx, s, places(want))
	f.must(err)
	f.sameEntries(what, got, want)
}

func places(entries []store.Entry) []store.Place {
	out := make([]store.Place, len(entries))
	for i := range entries {
		out[i] = entries[i].Place
	}
	return out
}
