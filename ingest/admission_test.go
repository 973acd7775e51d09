package ingest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestVerdict(t *testing.T) {
	const target = 100 * time.Millisecond
	quick := sight{took: 125 * time.Millisecond, acked: 1000, inside: 50, quickest: time.Millisecond}
	slow := sight{took: 125 * time.Millisecond, acked: 1000, inside: 2000, quickest: 150 * time.Millisecond}
	stalled := sight{took: 125 * time.Millisecond, inside: 512}
	idle := sight{took: time.Hour}
	with := func(s sight, change func(*sight)) sight { change(&s); return s }
	refusing := func(s sight) sight { return with(s, func(s *sight) { s.refused = 10 }) }

	for _, c := range []struct {
		name   string
		looks  []sight
		limits []int64
	}{
		{"idle", []sight{idle, idle}, []int64{0, 0}},
		{"normal", []sight{quick, quick, quick, quick}, []int64{0, 0, 0, 0}},
		{"the quickest just in time", []sight{
			with(slow, func(s *sight) { s.quickest = target }), slow, slow, with(slow, func(s *sight) { s.quickest = target }), slow,
		}, []int64{0, 0, 0, 0, 0}},
		{"a standing queue", []sight{slow, slow, slow, refusing(slow)}, []int64{0, 0, 800, 800}},
		{"a passing one", []sight{slow, slow, quick, slow, slow, quick}, []int64{0, 0, 0, 0, 0, 0}},
		{"slow ones far apart", []sight{slow, slow, with(slow, func(s *sight) { s.took = time.Hour }), slow, slow}, []int64{0, 0, 0, 0, 800}},
		{"a short stall", []sight{quick, stalled, slow, quick}, []int64{0, 0, 0, 0}},
		{"a long stall lets those in who wait", []sight{stalled, stalled, stalled, refusing(stalled), quick}, []int64{0, 0, 512, 512, 0}},
		{"a stall with few", []sight{
			with(stalled, func(s *sight) { s.inside = 3 }), stalled, with(stalled, func(s *sight) { s.inside = 3 }),
		}, []int64{0, 0, fewest}},
		{"never below the fewest", []sight{slow, slow, with(slow, func(s *sight) { s.acked = 1 })}, []int64{0, 0, fewest}},
		{"a faster log takes more", []sight{
			slow, slow, slow, refusing(with(quick, func(s *sight) { s.acked = 5000 })), refusing(with(quick, func(s *sight) { s.acked = 5000 })),
		}, []int64{0, 0, 800, 2400, 3200}},
		{"a slower log less", []sight{slow, slow, slow, refusing(with(slow, func(s *sight) { s.acked = 100 }))}, []int64{0, 0, 800, 440}},
		{"still refusing", []sight{slow, slow, slow, refusing(quick), refusing(quick)}, []int64{0, 0, 800, 800, 800}},
		{"over", []sight{slow, slow, slow, refusing(quick), quick, slow, slow, slow}, []int64{0, 0, 800, 800, 0, 0, 0, 800}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v verdict
			for i, s := range c.looks {
				if v = v.next(s, target); v.limit != c.limits[i] {
					t.Fatalf("after look %d the limit is %d, want %d", i, v.limit, c.limits[i])
				}
			}
		})
	}
}

// disk is a log that takes so many webhooks a second, in groups, all that wait
// where perSecond is 0, and none while it stalls.
type disk struct {
	group     time.Duration
	perSecond int
	stalls    func(since time.Duration) bool
	// wholeSync: as the committer does it, a group is taken at once and answered
	// when its sync is over; what comes meanwhile waits for the next one.
	wholeSync bool

	mu      sync.Mutex
	waiting []chan struct{}
}

func (d *disk) run(stop <-chan struct{}) {
	began := time.Now()
	credit := 0.0
	for {
		var syncing []chan struct{}
		if d.wholeSync {
			d.mu.Lock()
			syncing, d.waiting = d.waiting, nil
			d.mu.Unlock()
		}
		select {
		case <-stop:
			release(syncing)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.takeLocked(len(d.waiting))
			return
		case <-time.After(d.group):
		}
		if d.wholeSync {
			release(syncing)
			continue
		}
		if d.stalls != nil && d.stalls(time.Since(began)) {
			continue
		}
		d.mu.Lock()
		n := len(d.waiting)
		if d.perSecond > 0 {
			credit = min(credit+float64(d.perSecond)*d.group.Seconds(), float64(n))
			n = int(credit)
			credit -= float64(n)
		}
		d.takeLocked(n)
		d.mu.Unlock()
	}
}

func (d *disk) takeLocked(n int) {
	release(d.waiting[:n])
	d.waiting = slices.Delete(d.waiting, 0, n)
}

func release(waiting []chan struct{}) {
	for _, w := range waiting {
		close(w)
	}
}

// commitTime is that of the log's groups, known to those that sync them whole.
func (d *disk) commitTime() time.Duration {
	if d.wholeSync {
		return d.group
	}
	return 0
}

func (d *disk) append() {
	done := make(chan struct{})
	d.mu.Lock()
	d.waiting = append(d.waiting, done)
	d.mu.Unlock()
	<-done
}

// tally is what became of the webhooks that came after a while.
type tally struct {
	mu      sync.Mutex
	waits   []time.Duration
	refused int
}

// pass is one webhook's way.
func (c *tally) pass(a *admission, d *disk, counts bool) {
	letIn := a.letIn(time.Now())
	began := time.Now()
	if letIn {
		a.enter()
		d.append()
		now := time.Now()
		a.leave(now.Sub(began), true, now)
	}
	if !counts {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if letIn {
		c.waits = append(c.waits, time.Since(began))
	} else {
		c.refused++
	}
}

func (c *tally) quantile(q float64) time.Duration {
	slices.Sort(c.waits)
	return c.waits[int(q*float64(len(c.waits)-1))]
}

// open sends so many a second, whatever comes back, and counts from a time on.
func (c *tally) open(a *admission, d *disk, perSecond int, from, until time.Duration) {
	began := time.Now()
	var group sync.WaitGroup
	for i := range int(until.Seconds() * float64(perSecond)) {
		due := time.Duration(i) * time.Second / time.Duration(perSecond)
		time.Sleep(due - time.Since(began))
		group.Go(func() { c.pass(a, d, due >= from) })
	}
	group.Wait()
}

// closed keeps so many connections busy; one that is refused comes again after
// a while.
func (c *tally) closed(a *admission, d *disk, connections int, until time.Duration) {
	began := time.Now()
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for time.Since(began) < until {
				c.pass(a, d, true)
				time.Sleep(time.Duration(rand.IntN(int(time.Millisecond))))
			}
		})
	}
	group.Wait()
}

// try runs load against a disk in a bubble of its own time.
func try(t *testing.T, d *disk, load func(*tally, *admission)) *tally {
	t.Helper()
	var c tally
	synctest.Test(t, func(t *testing.T) {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { defer close(stopped); d.run(stop) }()
		load(&c, newAdmission(DefaultConfig().TargetWait, d.commitTime))
		close(stop)
		<-stopped
	})
	return &c
}

// TestOverload: at twice what the disk takes, as many as it takes are taken, and
// in time; the others are refused without a wait.
func TestOverload(t *testing.T) {
	for _, perSecond := range []int{1000, 8000} {
		d := &disk{group: 5 * time.Millisecond, perSecond: perSecond}
		c := try(t, d, func(c *tally, a *admission) { c.open(a, d, 2*perSecond, time.Second, 8*time.Second) })
		t.Logf("%d a second: %d taken, p50 %s, p99 %s, %d refused", perSecond, len(c.waits), c.quantile(.5), c.quantile(.99), c.refused)
		if p99 := c.quantile(.99); p99 > 250*time.Millisecond {
			t.Errorf("p99 of %s", p99)
		}
		if taken := len(c.waits); taken < perSecond*7*95/100 {
			t.Errorf("%d taken in 7 s of a disk that takes %d a second", taken, perSecond)
		}
		if c.refused < perSecond*6 {
			t.Errorf("only %d refused", c.refused)
		}
	}
}

// TestNothingRefused: what comes is not more than the disk takes.
func TestNothingRefused(t *testing.T) {
	stalling := func(since time.Duration) bool { return since%(977*time.Millisecond) > 732*time.Millisecond } // 245 ms
	for _, c := range []struct {
		name string
		disk *disk
		load func(*tally, *admission, *disk)
	}{
		{"nine tenths", &disk{group: 5 * time.Millisecond, perSecond: 4000}, func(c *tally, a *admission, d *disk) {
			c.open(a, d, 3600, 0, 5*time.Second)
		}},
		{"512 connections", &disk{group: 4 * time.Millisecond, perSecond: 20_000}, func(c *tally, a *admission, d *disk) {
			c.closed(a, d, 512, 3*time.Second)
		}},
		{"512 connections and a disk that stalls", &disk{group: 4 * time.Millisecond, perSecond: 20_000, stalls: stalling}, func(c *tally, a *admission, d *disk) {
			c.closed(a, d, 512, 10*time.Second)
		}},
		{"many connections and a disk that stalls", &disk{group: 10 * time.Millisecond, stalls: stalling}, func(c *tally, a *admission, d *disk) {
			c.open(a, d, 4000, 0, 10*time.Second)
		}},
		{"few at a slow disk", &disk{group: 300 * time.Millisecond}, func(c *tally, a *admission, d *disk) {
			c.closed(a, d, fewest, 10*time.Second)
		}},
		{"a disk whose every sync is slow", &disk{group: 110 * time.Millisecond, wholeSync: true}, func(c *tally, a *admission, d *disk) {
			c.open(a, d, 4000, 0, 10*time.Second)
		}},
		{"now and then", &disk{group: 5 * time.Millisecond, perSecond: 1000}, func(c *tally, a *admission, d *disk) {
			c.open(a, d, 2, 0, 20*time.Second)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := try(t, c.disk, func(got *tally, a *admission) { c.load(got, a, c.disk) })
			if got.refused > 0 {
				t.Errorf("%d of %d refused", got.refused, got.refused+len(got.waits))
			}
		})
	}
}

// TestLongStall: while the disk does nothing those that come are soon refused;
// once it is back they are taken again.
func TestLongStall(t *testing.T) {
	d := &disk{group: 5 * time.Millisecond, stalls: func(since time.Duration) bool { return since > time.Second && since < 5*time.Second }}
	var during, after *tally
	synctest.Test(t, func(t *testing.T) {
		during, after = &tally{}, &tally{}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() { defer close(stopped); d.run(stop) }()
		a := newAdmission(DefaultConfig().TargetWait, d.commitTime)
		during.open(a, d, 1000, 0, 5*time.Second) // returns when the last is answered
		after.open(a, d, 1000, 300*time.Millisecond, 2*time.Second)
		close(stop)
		<-stopped
	})
	if taken := len(during.waits); taken > 1000+600 {
		t.Errorf("%d webhooks were let in, 1000 before the stall", taken)
	}
	if after.refused > 0 {
		t.Errorf("%d refused after the stall", after.refused)
	}
}

// TestRefusedForTheWait: what is refused for the wait is told at once, keeps its
// connection, and is counted.
func TestRefusedForTheWait(t *testing.T) {
	h := start(t, func(_ *Config, s *shelf) { s.enter, s.leave = make(chan struct{}), make(chan struct{}) })
	h.admission.limit.Store(1)
	waiting := h.dial().send(signed("first"))
	<-h.shelf.enter
	if got := h.metric("spillway_ingest_waiting"); got != 1 {
		t.Errorf("%v wait, want 1", got)
	}
	other := h.dial()
	for range 3 { // the second sees that the first one's body was skipped
		if a := other.send(signed("second")).want(503); a.Close {
			t.Error("the connection is closed")
		}
	}
	large := string(make([]byte, skipBytes+1))
	if a := h.dial().send(signed(large)).want(503); !a.Close {
		t.Error("a large body is waited for")
	}
	if got := testutil.ToFloat64(h.metrics.unavailable[unavailableOverload]); got != 4 {
		t.Errorf("%v counted, want 4", got)
	}
	close(h.shelf.leave)
	waiting.want(200)
	go func() { <-h.shelf.enter }()
	other.send(signed("third")).want(200)
	if kept := h.shelf.kept(); len(kept) != 2 || string(kept[0].Body) != "first" || string(kept[1].Body) != "third" {
		t.Errorf("%d webhooks kept", len(kept))
	}
}

// TestUnavailable: each 503 has its reason.
func TestUnavailable(t *testing.T) {
	h := start(t, nil)
	count := func(reason string) float64 { return testutil.ToFloat64(h.metrics.unavailable[reason]) }
	h.shelf.set(errors.New("full"), nil)
	h.dial().send(signed("x")).want(503)
	h.shelf.set(nil, errors.New("full"))
	h.dial().send(signed("x")).want(503)
	if got := count(unavailableLog); got != 2 {
		t.Errorf("%v refused by the log, want 2", got)
	}
	h.shelf.set(nil, nil)
	h.stopping.Store(true)
	h.dial().send(signed("x")).want(503)
	h.stopping.Store(false)
	if got := count(unavailableStopping); got != 1 {
		t.Errorf("%v while stopping, want 1", got)
	}
	if inside := h.admission.waiting(); inside != 0 {
		t.Errorf("%d still wait", inside)
	}
}
