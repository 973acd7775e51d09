package deliver

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"spillway/dispatch/store"
)

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMillionParked: a million deliveries that wait take some 150 bytes each, and as
// much again is not needed however long they are tried.
func TestMillionParked(t *testing.T) {
	const n = 1_000_000
	before := heapBytes()
	p := newParked(true)
	now := time.UnixMilli(1_800_000_000_000)
	for i := range n {
		p.add(store.Parked{Place: store.Place{Ms: uint64(i)}, Contact: uint64(i%300_000 + 1), First: now, Due: now})
	}
	each := func() float64 { return float64(heapBytes()-before) / n }
	if got := each(); got > 200 {
		t.Errorf("%.0f bytes a delivery", got)
	}
	for range 2 * n {
		index, ok := p.takeDue(now)
		if !ok {
			now = now.Add(time.Second)
			continue
		}
		if rand.IntN(2) == 0 {
			p.retry(index, now.Add(time.Duration(rand.IntN(1000))*time.Millisecond), 1)
			continue
		}
		again := p.get(index)
		p.remove(index)
		again.Place.Ms += n
		p.add(again)
	}
	if got := each(); got > 250 || p.count != n {
		t.Errorf("%.0f bytes a delivery after many tries, %d wait", got, p.count)
	}
	runtime.KeepAlive(p)
}

// TestMillionWaiting: a million events for an endpoint that is down are kept by the
// store; the receiver's memory is bounded, also when it has them from the start.
func TestMillionWaiting(t *testing.T) {
	if os.Getenv("SPILLWAY_TEST_FULL") == "" {
		t.Skip("in make test-full: it takes a minute")
	}
	const n = 1_000_000
	r, g := newRig(t), newTarget(t)
	e := endpointAt("a", g.URL)
	e.MaxWaiting = 2 * n
	before := heapBytes()
	d := r.start(e)
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	if err := d.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for range n / 10_000 {
		r.put(10_000, 50_000)
		sent := int64(r.n)
		r.eventually("most wait", func() bool { return d.waiting("a") > sent-20_000 })
	}
	r.eventually("all wait", func() bool { return d.waiting("a") == n })
	r.uids = nil
	check := func(when string) {
		t.Helper()
		used := heapBytes() - before
		t.Logf("%s: %d MiB", when, used>>20)
		if used > 500<<20 {
			t.Errorf("%s a million deliveries take %d MiB", when, used>>20)
		}
	}
	check("parked")
	d.stop()
	d = r.start(e)
	r.eventually("all are found again", func() bool { return d.waiting("a") == n })
	check("loaded")
}
