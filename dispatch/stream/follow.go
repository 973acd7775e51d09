package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/store"
)

// follow keeps the hub fed until the server closes, but only while there are
// sockets, and for FollowLinger after the last one: following may cost the store
// a round trip many times a second.
//
// That the sockets came back in the moment it stops costs nothing but a catch-up:
// the hub tells those that registered meanwhile that it forgot its place, and
// those that wait are served by the next turn of the loop.
func (s *Server) follow() {
	for s.hub.awaitMembers(s.ctx) {
		ctx, cancel := context.WithCancel(s.ctx)
		var idle sync.WaitGroup
		idle.Go(func() {
			s.hub.untilVacant(ctx, s.cfg.FollowLinger)
			cancel()
		})
		f := following{server: s}
		f.run(ctx)
		cancel()
		idle.Wait()
		s.hub.forget()
	}
}

// following is one span in which the feed is followed.
type following struct {
	server *Server
	// known is true once the hub has a place, and wentBack from when a stream was
	// found to have gone back until the hub has a new one.
	known, wentBack bool
}

// run follows until ctx ends.
func (f *following) run(ctx context.Context) {
	s := f.server
	var tries tries
	for {
		began := time.Now()
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, store.ErrWentBack) {
			f.wentBack = true
		} else {
			s.metrics.feedErrors.Inc()
			s.logger.Warn("following the store failed, trying again", "error", err)
		}
		pause := time.NewTimer(tries.wait(err, time.Since(began), rand.Float64()))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// retry is how a feed that fails is followed again.
var retry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// tries counts what failed since the feed was last followed for long.
type tries struct{ failures, rewinds int }

// wait is how long to wait after an error of a feed that was followed for so long.
// A stream that went back is followed again at once, unless it does so over and
// over.
func (t *tries) wait(err error, lasted time.Duration, random float64) time.Duration {
	if lasted > retry.Most {
		*t = tries{}
	}
	if !errors.Is(err, store.ErrWentBack) {
		t.failures++
		return retry.Wait(t.failures-1, random)
	}
	t.failures = 0
	if t.rewinds++; t.rewinds == 1 {
		return 0
	}
	return retry.Wait(t.rewinds-2, random)
}

var errFollowEnded = errors.New("feed ended by itself")

// once goes on where the hub is, or, where it is nowhere, from the end of the feed.
func (f *following) once(ctx context.Context) error {
	s := f.server
	bounds, limit, err := s.feed.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	from := f.place(bounds, limit)
	confirmed := false
	err = s.feed.Follow(ctx, from, func(round store.Round) error {
		if !confirmed {
			if err := f.confirm(ctx); err != nil {
				return err
			}
			confirmed = true
		}
		return s.hub.emit(round)
	})
	if err == nil {
		return errFollowEnded
	}
	return fmt.Errorf("follow feed: %w", err)
}

// place is where to follow on. The hub starts again at the end of the feed where
// it knows no place yet, and where the feed does not go on from the one it has.
func (f *following) place(bounds []store.Bounds, limit store.Place) []store.Place {
	s := f.server
	position, from := s.hub.from()
	back := wentBack(position, bounds)
	if back == nil && f.wentBack {
		// It is past the place by now: any partition may be the one.
		back = make([]bool, len(bounds))
		for p := range back {
			back[p] = true
		}
	}
	if f.known {
		switch {
		case !holds(from, bounds, limit):
			s.logger.Warn("the store no longer holds what came next, listeners will be told")
		case back != nil:
			s.metrics.rewinds.Inc()
			s.logger.Warn("the store lost the end of its event stream, listeners may get events twice",
				"partitions", count(back))
		default:
			return from
		}
	}
	for p := range bounds {
		from[p] = bounds[p].Last
	}
	s.hub.restart(from, back, limit)
	f.known, f.wentBack = true, false
	return from
}

// confirm finds a stream that went back after its bounds were read and before
// Follow had its first look: Follow cannot know.
func (f *following) confirm(ctx context.Context) error {
	bounds, _, err := f.server.feed.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	position, _ := f.server.hub.from()
	if wentBack(position, bounds) != nil {
		return store.ErrWentBack
	}
	return nil
}

// wentBack tells the partitions that end before a place an event was seen at; nil
// for none.
func wentBack(position []store.Place, bounds []store.Bounds) (back []bool) {
	for p := range bounds {
		if bounds[p].Last.Compare(position[p]) >= 0 {
			continue
		}
		if back == nil {
			back = make([]bool, len(bounds))
		}
		back[p] = true
	}
	return back
}

func count(set []bool) (n int) {
	for _, in := range set {
		if in {
			n++
		}
	}
	return n
}

// holds reports whether a feed has all that comes after the places.
func holds(from []store.Place, bounds []store.Bounds, limit store.Place) bool {
	for p := range bounds {
		if from[p].Compare(bounds[p].Trimmed) < 0 {
			return false
		}
		if bounds[p].Last.Compare(from[p]) < 0 && from[p].Compare(limit) > 0 {
			return false
		}
	}
	return true
}
