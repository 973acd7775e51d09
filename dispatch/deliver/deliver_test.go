package deliver

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/deliver/post"
)

func TestEveryEvent(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	r.put(1000, 20)
	r.wantAll(g)
}

// TestDown: an endpoint that is down for the whole load gets all of it when it is
// back, and another one does not notice.
func TestDown(t *testing.T) {
	r, sick, healthy := newRig(t), newTarget(t), newTarget(t)
	sick.set(func(received) int { return http.StatusBadGateway })
	d := r.start(endpointAt("sick", sick.URL), endpointAt("healthy", healthy.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == 2*testPartitions })
	r.put(1000, 20)
	r.wantAll(healthy)
	r.eventually("all waits", func() bool { return d.waiting("sick") == 1000 })
	sick.set(nil)
	r.wantAll(sick)
	r.eventually("nothing waits", func() bool { return d.waiting("sick") == 0 })
}

// TestFailsSometimes: a third of the requests fail.
func TestFailsSometimes(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	n := 0
	g.set(func(received) int {
		if n++; n%3 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	r.put(60, 10)
	r.wantAll(g)
}

// TestStops: a Deliverer that ends and one that comes after it lose nothing and
// send nothing twice.
func TestStops(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	for range 5 {
		r.put(200, 20)
		time.Sleep(20 * time.Millisecond)
		d.stop()
		d = r.start(endpointAt("a", g.URL))
	}
	r.wantAll(g)
}

func (d *deliverer) shareCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.shares)
}

func (d *deliverer) waiting(name string) int64 {
	status := Status{Name: name}
	d.addShares(&status)
	return status.Waiting
}

// TestRefused: what an endpoint does not want becomes a dead delivery, at once, and
// is sent again on request.
func TestRefused(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	g.set(func(e received) int {
		if e.Payload.N%2 == 0 {
			return http.StatusUnprocessableEntity
		}
		return http.StatusOK
	})
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	r.put(100, 10)
	dead := func() int64 {
		n, err := r.store.DeadCount(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r.eventually("half of it is dead", func() bool { return dead() == 50 && len(g.events()) == 50 })
	g.set(nil)
	if n, err := d.DeadRetry(t.Context(), "a", nil); err != nil || n != 50 {
		t.Fatalf("%d retried, %v", n, err)
	}
	r.eventually("all is delivered", func() bool { return len(g.events()) == 100 })
	r.eventually("none is dead", func() bool { return dead() == 0 })
}

// TestGone: an endpoint that answers 410 is told nothing more, and loses nothing.
func TestGone(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	g.set(func(received) int { return http.StatusGone })
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	r.put(200, 20)
	r.eventually("all waits", func() bool { return d.waiting("a") == 200 })
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].State.Paused || list[0].State.Reason != "410 gone" || list[0].Waiting != 200 {
		t.Fatalf("%+v, %v", list, err)
	}
	if g.tries > 3*8 {
		t.Errorf("%d requests to an endpoint that is gone", g.tries)
	}
	g.set(nil)
	if err := d.Resume(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.wantAll(g)
}

// TestGivesUp: what cannot be delivered within RetryFor is dead, and what is more
// than MaxWaiting, the oldest first.
func TestGivesUp(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	g.set(func(received) int { return http.StatusInternalServerError })
	brief, few := endpointAt("brief", g.URL), endpointAt("few", g.URL)
	brief.RetryFor, few.MaxWaiting = 10*time.Millisecond, 10*testPartitions
	d := r.start(brief, few)
	r.eventually("all shares are leased", func() bool { return d.shareCount() == 2*testPartitions })
	r.put(400, 20)
	dead := func(name string) (n int64) {
		n, err := r.store.DeadCount(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r.eventually("few wait", func() bool { return d.waiting("few") == 10*testPartitions && dead("few") == 400-10*testPartitions })
	page, err := d.DeadList(t.Context(), "few", nil, 1)
	if err != nil || len(page) != 1 || page[0].Reason != "more than max_waiting deliveries wait" {
		t.Errorf("%+v, %v", page, err)
	}
	r.eventually("some of the brief ones are dead", func() bool { return dead("brief") > 10 })
}

// TestTwoReceivers: they share the work, one takes over when the other ends, and
// when it is lost.
func TestTwoReceivers(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	one := r.start(endpointAt("a", g.URL))
	two := r.start(endpointAt("a", g.URL))
	r.eventually("the shares are divided", func() bool {
		return one.shareCount()+two.shareCount() == testPartitions && (one.shareCount() == 0) == (two.shareCount() == testPartitions)
	})
	r.put(500, 20)
	time.Sleep(20 * time.Millisecond)
	one.stop()
	r.put(500, 20)
	r.wantAll(g)
	if two.shareCount() != testPartitions {
		t.Errorf("the one that is left has %d shares", two.shareCount())
	}
}

// TestLost: one that hangs beyond its leases delivers nothing more, and the other
// delivers all.
func TestLost(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	d := r.start(endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	// Another takes the shares, as where this one was stopped for longer than its leases.
	r.put(10, 10)
	r.wantAll(g)
	d.mu.Lock()
	for _, s := range d.shares {
		s.until.Store(0)
	}
	d.mu.Unlock()
	tries := g.tries
	r.put(10, 10)
	time.Sleep(10 * time.Millisecond)
	if g.tries > tries+8 {
		t.Errorf("%d requests without a lease", g.tries-tries)
	}
	r.wantAll(g) // the leases are renewed: nobody has taken them
}

// TestSlowEndpoint: one that is told less than comes in misses nothing: what its
// stream would soon trim is parked.
func TestSlowEndpoint(t *testing.T) {
	const n = 20_000
	r, g := newRigThatKeeps(t, 5000), newTarget(t)
	e := endpointAt("a", g.URL)
	e.Rate = 50
	d := r.start(e)
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	for range n / 200 {
		r.put(200, 50)
		time.Sleep(20 * time.Millisecond)
	}
	r.eventually("all but what its streams keep waits or is delivered", func() bool {
		return d.waiting("a")+int64(len(g.events())) > n-5000
	})
	if missed := testutil.ToFloat64(d.metrics.trimmed.WithLabelValues("a")); missed != 0 {
		t.Errorf("events were trimmed %v times before the endpoint was told", missed)
	}
}

// TestStopsBesideAHungRequest: what is delivered behind a request that hangs is not
// delivered again by who comes after.
func TestStopsBesideAHungRequest(t *testing.T) {
	r, g := newRig(t), newTarget(t)
	hang := make(chan struct{})
	cfg := DefaultConfig()
	cfg.Interval = 50 * time.Millisecond
	cfg.Dial = func(e Endpoint) (Sender, error) {
		return hangsOnce{plainSender{e.URL, &http.Client{Transport: &http.Transport{}}}, hang, &atomic.Bool{}}, nil
	}
	d := r.startWith(cfg, endpointAt("a", g.URL))
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	r.put(120, 60)
	// The other event of its contact waits for it.
	r.eventually("all but two are delivered", func() bool { return len(g.events()) == 118 })
	d.stop()
	close(hang)
	r.start(endpointAt("a", g.URL))
	r.wantAll(g)
}

// hangsOnce is a sender whose first request hangs until its context ends.
type hangsOnce struct {
	plainSender
	hang  chan struct{}
	first *atomic.Bool
}

func (s hangsOnce) Send(ctx context.Context, id string, body []byte) post.Result {
	if s.first.CompareAndSwap(false, true) {
		select {
		case <-ctx.Done():
		case <-s.hang:
		}
		return post.Result{Outcome: post.Stopped}
	}
	return s.plainSender.Send(ctx, id, body)
}
