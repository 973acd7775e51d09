// Package storetest is the suite that every store passes. It holds a store to
// what package store promises, and to nothing that only one of them could do.
//
// A store's own test hands Run a function that opens an empty one. What a test
// does to a store beyond its interface (open it again, crash it, let time pass)
// it asks of the Harness; a store that cannot offer a hook has to declare so.
package storetest

import (
	"testing"
	"time"

	"spillway/dispatch/store"
)

// Store is all that a store implements.
type Store interface {
	store.Store
	store.Feed
	store.Contacts
}

// Options are what a test asks of the store it is given.
type Options struct {
	Partitions  int
	Window      time.Duration
	ContactTTL  time.Duration
	Retain      int64
	RetainBytes int64
}

// The hooks of a Harness.
const (
	Reopen  = "reopen"
	Lose    = "lose"
	Advance = "advance"
)

// Harness is one store under test. It goes away with the test it was made in.
type Harness struct {
	// Store is open and empty.
	Store Store
	// Reopen closes the store and opens it again; nothing is lost.
	Reopen func(t testing.TB) Store
	// Lose crashes the store and brings it back without some of what was applied
	// last: all, some or none of what came after the last call of Cursors.
	Lose func(t testing.TB) Store
	// Advance lets time pass for the store, and does what is due then: expiry.
	Advance func(t testing.TB, d time.Duration)
	// Lacks has a reason for each hook that is nil.
	Lacks map[string]string
}

// missing lists the hooks that are nil.
func (h *Harness) missing() []string {
	var names []string
	if h.Reopen == nil {
		names = append(names, Reopen)
	}
	if h.Lose == nil {
		names = append(names, Lose)
	}
	if h.Advance == nil {
		names = append(names, Advance)
	}
	return names
}

// check is one test of the suite, and the hook it needs, if any.
type check struct {
	name  string
	needs string
	opts  func(*Options)
	run   func(*fixture)
}

// Run holds the stores that open makes to the suite. Tests that need a hook
// which the store declares to lack are left out, and named.
func Run(t *testing.T, open func(t *testing.T, opts Options) *Harness) {
	var checks []check
	for _, group := range [][]check{cursorChecks, dedupeChecks, staleChecks, contactChecks, feedChecks, trimChecks, durableChecks, modeChecks} {
		checks = append(checks, group...)
	}
	hold(t, open, checks)
}

// hold holds stores to some checks.
func hold(t *testing.T, open func(t *testing.T, opts Options) *Harness, checks []check) {
	lacking := declared(t, open)
	for _, c := range checks {
		if reason, lacks := lacking[c.needs]; lacks {
			t.Logf("%s is not held to this store: it has no %s hook: %s", c.name, c.needs, reason)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			opts := defaultOptions()
			if c.opts != nil {
				c.opts(&opts)
			}
			c.run(newFixture(t, open(t, opts), opts))
		})
	}
}

func defaultOptions() Options {
	return Options{Partitions: 8, Window: 8 * 24 * time.Hour, Retain: 100_000, RetainBytes: 1 << 30}
}

// declared checks that each hook is there or declared to be lacking.
func declared(t *testing.T, open func(t *testing.T, opts Options) *Harness) map[string]string {
	lacking := make(map[string]string)
	t.Run("Hooks", func(t *testing.T) {
		h := open(t, defaultOptions())
		for _, name := range h.missing() {
			if h.Lacks[name] == "" {
				t.Errorf("the harness has no %s hook and gives no reason", name)
			}
			lacking[name] = h.Lacks[name]
		}
		if len(h.Lacks) != len(lacking) {
			t.Errorf("the harness declares %v to lack, and lacks %v", h.Lacks, h.missing())
		}
	})
	return lacking
}
