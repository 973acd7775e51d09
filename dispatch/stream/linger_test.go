package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// isFollowed reports whether a Follow runs.
func (f *memoryFeed) isFollowed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.following > 0
}

func (f *memoryFeed) followCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.follows
}

// bubbleServer is a started server without a listener, for a synctest bubble.
func bubbleServer(t *testing.T, feed *memoryFeed) *Server {
	cfg := DefaultConfig()
	cfg.Secret = secret
	s, err := New(cfg, feed, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	return s
}

func wantFollowed(t *testing.T, feed *memoryFeed, when string, want bool) {
	t.Helper()
	synctest.Wait()
	if got := feed.isFollowed(); got != want {
		t.Errorf("%s: followed is %v, want %v", when, got, want)
	}
}

// TestFollowsOnlyForSockets: no socket, no following; a socket that comes back
// within the linger finds the feed followed, and one that comes later wakes it.
func TestFollowsOnlyForSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newMemoryFeed(2)
		feed.fill(10)
		s := bubbleServer(t, feed)
		linger := s.cfg.FollowLinger
		a, b := &socket{filter: &filter{}}, &socket{filter: &filter{}}

		time.Sleep(time.Hour)
		wantFollowed(t, feed, "before any socket", false)
		s.hub.enter(a)
		wantFollowed(t, feed, "with a socket", true)
		s.hub.enter(b)
		s.hub.leave(a)
		time.Sleep(2 * linger)
		wantFollowed(t, feed, "with the other one", true)
		s.hub.leave(b)
		s.hub.leave(b) // a second time is nothing
		time.Sleep(linger - time.Second)
		s.hub.enter(a)
		time.Sleep(2 * linger)
		wantFollowed(t, feed, "with one that came back", true)
		s.hub.leave(a)
		time.Sleep(linger - time.Second)
		s.hub.enter(a)
		s.hub.leave(a)
		time.Sleep(linger - time.Second)
		wantFollowed(t, feed, "lingering anew", true)
		if got := feed.followCount(); got != 1 {
			t.Errorf("followed %d times, want 1", got)
		}
		time.Sleep(2 * time.Second)
		wantFollowed(t, feed, "after the linger", false)
		if _, ok := s.hub.level(a); ok {
			t.Error("the hub still knows a place")
		}
		time.Sleep(time.Hour)
		last := feed.fill(5)
		s.hub.enter(a)
		wantFollowed(t, feed, "woken", true)
		at, ok := s.hub.level(a)
		if !ok || later(at.target[0], at.target[1]) != last[4].Place {
			t.Errorf("woken at %+v, %v, want the end", at, ok)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		wantFollowed(t, feed, "closed", false)
		s.hub.leave(a)
	})
}

// TestSleepsWhileStoreIsAway: a store that does not answer is not asked for ever.
func TestSleepsWhileStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newMemoryFeed(1)
		feed.setBroken(errors.New("away"))
		s := bubbleServer(t, feed)
		k := &socket{filter: &filter{}}
		s.hub.enter(k)
		time.Sleep(time.Minute)
		s.hub.leave(k)
		time.Sleep(2 * s.cfg.FollowLinger)
		feed.setBroken(nil)
		time.Sleep(time.Hour)
		wantFollowed(t, feed, "without sockets", false)
		s.hub.enter(k)
		wantFollowed(t, feed, "with one", true)
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestSleepsWithSockets: a socket that registered in the moment at which following
// stopped misses nothing, and gets nothing twice.
func TestSleepsWithSockets(t *testing.T) {
	feed := newMemoryFeed(2)
	r := newStillRig(t, feed, nil)
	p := r.open("")
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		var span sync.WaitGroup
		span.Go(func() {
			f := following{server: r.server}
			f.run(ctx)
		})
		if i == 0 {
			p.live()
		} else {
			p.events(feed.fill(10))
		}
		cancel()
		span.Wait()
		r.server.hub.forget()
	}
}

// TestEachSocketCounts: the one that is left keeps the feed followed.
func TestEachSocketCounts(t *testing.T) {
	feed := newMemoryFeed(2)
	r := newRig(t, feed, func(c *Config) { c.FollowLinger = time.Millisecond })
	first, second := r.open(""), r.open("")
	first.live()
	second.live()
	_ = first.conn.Close()
	r.wantMetric("sockets", r.server.metrics.sockets, 1)
	time.Sleep(20 * r.server.cfg.FollowLinger)
	second.events(feed.fill(10))
	if got := feed.followCount(); got != 1 {
		t.Errorf("followed %d times, want 1", got)
	}
}

// TestSleepAndWakeRace: readers come and go around the moment at which following
// stops. Each gets all that comes after its first position, and one that resumes
// all that it has not had.
func TestSleepAndWakeRace(t *testing.T) {
	feed := newMemoryFeed(3)
	r := newRig(t, feed, func(c *Config) { c.FollowLinger = time.Millisecond })
	const rounds = 150
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for range rounds {
				p := r.open("")
				p.live()
				p.until(feed.fill(4))
				_ = p.conn.Close()
				time.Sleep(time.Duration(rand.Int64N(int64(4 * time.Millisecond))))
			}
		})
	}
	readers.Go(func() {
		p := r.open("")
		id := p.live().ID
		_ = p.conn.Close()
		for range rounds {
			missed := feed.fill(4)
			time.Sleep(time.Duration(rand.Int64N(int64(4 * time.Millisecond))))
			p := r.open("since=" + id)
			p.until(missed)
			id = p.last // the position may have come before them
			_ = p.conn.Close()
		}
	})
	readers.Wait()
	eventually(t, "asleep", func() bool { return !feed.isFollowed() })
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
	if got := feed.followCount(); got < 10 {
		t.Errorf("woken %d times, the test shows nothing", got)
	}
}

// until reads until it has had all the events; others, and repeats, may come.
func (p *peer) until(want []store.Entry) (got []uuid.UUID) {
	p.t.Helper()
	missing := make(map[uuid.UUID]bool, len(want))
	for i := range want {
		missing[want[i].UID] = true
	}
	for len(missing) > 0 {
		m := p.event()
		delete(missing, m.UID)
		got = append(got, m.UID)
	}
	return got
}

// position reads on until a position.
func (p *peer) position() message {
	p.t.Helper()
	for {
		if m := p.next(); m.Type == "stream:position" {
			return m
		}
	}
}
