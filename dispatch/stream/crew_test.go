package stream

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// queued is how many sockets a crew has to look at, in this pass and the next.
func (c *crew) queued() (ready, next int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready) - c.head, len(c.next)
}

// TestCrewRests: after a pass a crew lets events gather for as long as that took,
// but not for long, and not where many are there.
func TestCrewRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			pass, rest time.Duration
		}{
			{100 * time.Microsecond, 0}, {10 * time.Millisecond, 10 * time.Millisecond}, {time.Minute, maxRest},
		} {
			c := newCrew(80, 800) // a queue of 80: 10 events are enough
			c.workers = 1         // one that the test plays
			c.began = time.Now()
			time.Sleep(test.pass)
			if batch := c.take(nil); len(batch) != 0 || c.workers != 0 {
				t.Fatalf("a pass without sockets: %d to look at, %d workers", len(batch), c.workers)
			}
			c.most = 0 // nobody comes: what is ready stays so
			c.add(9, 9, &socket{})
			if test.rest > 0 {
				time.Sleep(test.rest - time.Nanosecond)
				if ready, _ := c.queued(); ready != 0 {
					t.Errorf("after a pass of %s it rested less than %s", test.pass, test.rest)
				}
				time.Sleep(2 * time.Nanosecond)
			}
			if ready, _ := c.queued(); ready != 1 {
				t.Errorf("after a pass of %s it rested more than %s", test.pass, test.rest)
			}
		}
		c := newCrew(80, 800)
		c.most, c.workers, c.began = 0, 1, time.Now()
		time.Sleep(time.Second)
		c.take(nil)
		c.add(9, 9, &socket{})
		if ready, next := c.queued(); ready != 0 || next != 1 {
			t.Errorf("9 events end a rest: %d, %d", ready, next)
		}
		if c.add(1, 1); len(c.next) != 0 {
			t.Error("10 events do not end a rest")
		}
		time.Sleep(time.Second) // the timer of that rest changes nothing
		if ready, _ := c.queued(); ready != 1 {
			t.Errorf("%d are ready, want 1", ready)
		}
	})
}

// TestCrewIsFair: who has more to write waits for all others, nobody rests meanwhile,
// and writing without end takes no more memory.
func TestCrewIsFair(t *testing.T) {
	c := newCrew(80, 800)
	c.most = 0
	sockets := []*socket{{}, {}, {}}
	c.add(0, 0, sockets...)
	var seen []*socket
	for range 10_000 {
		c.workers = 1
		batch := c.take(nil)
		seen = append(seen, batch...)
		for _, k := range batch {
			c.again(k, true)
		}
	}
	for i, k := range seen {
		if i >= 3 && k != seen[i-3] {
			t.Fatalf("look %d is out of turn", i)
		}
	}
	if n := cap(c.ready); len(seen) < 10_000 || n > 64 || c.resting {
		t.Errorf("%d looks took room for %d sockets", len(seen), n)
	}
	if !slices.Equal(seen[:3], sockets) {
		t.Error("not first come, first served")
	}
}

// TestNewsDoNotEndTheRest: at most times something comes for a socket that is just
// being written to; a crew that did not rest for that would never rest.
func TestNewsDoNotEndTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, more := range []bool{false, true} {
			c := newCrew(80, 800)
			c.most, c.workers, c.began = 0, 1, time.Now()
			time.Sleep(time.Second)
			c.again(&socket{}, more)
			c.take(nil)
			if ready, _ := c.queued(); ready == 1 != more || c.resting == more {
				t.Errorf("more to write is %v: %d are ready, resting is %v", more, ready, c.resting)
			}
			c.timer.Stop()
		}
	})
}
