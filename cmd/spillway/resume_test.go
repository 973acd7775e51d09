package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

// shoppers are readers of each kind: one that sees all from the beginning, one that
// is live, two that are filtered, and one that hears little but positions.
func (f *fleet) shoppers() []*reader {
	messages := func(p posted) bool { return p.kind == event.MessageNew }
	return []*reader{
		f.newReader("from the oldest", "0"),
		f.newReader("live", ""),
		f.newReader("messages", "").narrow("events=message:new", messages),
		f.newReader("one number", "0").narrow("phone_number_id=107", func(p posted) bool { return p.phone == "107" }),
		f.newReader("quiet", "").narrow("phone_number_id="+quietPhone, func(p posted) bool { return p.phone == quietPhone }),
	}
}

// hears waits until the reader has an id.
func (r *reader) hears() {
	r.t.Helper()
	r.where().eventually(rigPatience, r.name+" hears something", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.since == "" || r.connections == 0 {
			return fmt.Errorf("%s heard nothing", r.name)
		}
		return nil
	})
}

// TestResumeOverKills kills the receiver with -9 under load, again and again, with
// the embedded store, which forgets what it had not yet written.
func TestResumeOverKills(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	readers := f.shoppers()
	for _, r := range readers {
		r.follow(ctx, &group)
		r.hears()
	}
	f.load(fleetPace)
	for range rounds(3, 20) {
		time.Sleep(time.Duration(300+rand.IntN(500)) * time.Millisecond)
		// One that is away while the receiver is killed twice.
		away := f.newReader("away for two kills", "")
		within, hangUp := context.WithCancel(ctx)
		var once sync.WaitGroup
		away.follow(within, &once)
		away.hears()
		time.Sleep(100 * time.Millisecond)
		hangUp()
		once.Wait()
		f.kill(f.nodes[0], 0)
		time.Sleep(200 * time.Millisecond)
		f.kill(f.nodes[0], 0)
		readers = append(readers, away.follow(ctx, &group))
	}
	time.Sleep(300 * time.Millisecond)
	f.settle()
	f.kill(f.nodes[0], 0)
	f.haveAll(readers, cancel, &group)
	f.oldIDs(readers[0], 10)
}

// oldIDs resumes with ids of all eras that a reader had: none is refused, and each
// brings all that came new to it after it.
func (f *fleet) oldIDs(of *reader, samples int) {
	f.t.Helper()
	for n := range samples {
		i := n * (len(of.ids) - 1) / max(samples-1, 1)
		r := f.newReader(fmt.Sprintf("with the id of event %d of %d", i+1, len(of.ids)), of.ids[i])
		ctx, cancel := context.WithCancel(f.t.Context())
		var group sync.WaitGroup
		r.follow(ctx, &group)
		f.nodes[0].process.Load().eventually(rigPatience, r.name, func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			missing := 0
			for uid, j := range of.seen {
				if _, seen := r.seen[uid]; j > i && !seen {
					missing++
				}
			}
			if missing > 0 {
				return fmt.Errorf("%d of %d missing", missing, len(of.ids)-i-1)
			}
			return nil
		})
		cancel()
		group.Wait()
		for _, fault := range r.faults[:min(len(r.faults), 5)] {
			f.t.Errorf("%s: %v", r.name, fault)
		}
	}
}

// mostRepeats bounds the events that come again after a hop: those of the last
// second, which is how far the clocks of servers may be apart, and what the other
// node, which is as busy as this machine, takes to follow.
const mostRepeats = 5 * time.Second

// hoppers are readers that hang up after some messages and go on at any receiver.
func (f *fleet) hoppers() []*reader {
	readers := f.shoppers()
	for _, r := range readers[:4] {
		r.every = func() int { return 1 + rand.IntN(150) }
	}
	// It is a position, mostly.
	readers[4].every = func() int { return 1 }
	return readers
}

// testHops reads from any receiver while receivers are killed with -9 and stopped
// in an orderly way in turns.
func testHops(t *testing.T, at redisAt) {
	f := newFleet(t, 2, at.env()...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	readers := f.hoppers()
	for _, r := range readers {
		r.follow(ctx, &group)
		r.hears()
	}
	f.load(fleetPace)
	for i := range rounds(3, 16) {
		time.Sleep(time.Duration(500+rand.IntN(500)) * time.Millisecond)
		if n := f.nodes[i%2]; i%4 < 2 {
			f.kill(n, 100*time.Millisecond)
		} else {
			f.restart(n)
		}
	}
	for f.count() < 600 { // a busy machine takes longer
		time.Sleep(50 * time.Millisecond)
	}
	f.settle()
	for _, r := range readers {
		r.mu.Lock()
		r.every = func() int { return 0 }
		r.mu.Unlock()
	}
	f.haveAll(readers, cancel, &group)
	for _, r := range readers[:4] {
		if r.oldest > mostRepeats {
			t.Errorf("%s: an event came again that it had %s before it came back", r.name, r.oldest)
		}
		if r.connections < 3 {
			t.Errorf("%s: only %d connections", r.name, r.connections)
		}
	}
	f.oldIDs(readers[0], 10)
}

// TestHopsBetweenNodes: any node serves any subscriber, over one Redis.
func TestHopsBetweenNodes(t *testing.T) {
	t.Parallel()
	testHops(t, single(startRedis(t, localredis.Options{})))
}

// TestHopsBetweenNodesOnCluster is the same over a Cluster.
func TestHopsBetweenNodesOnCluster(t *testing.T) {
	if !full() {
		t.Skip("the long form only: make test-full")
	}
	t.Parallel()
	_, at := startCluster(t)
	testHops(t, at)
}
