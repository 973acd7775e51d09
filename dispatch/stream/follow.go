package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/store"
)

// follow keeps the hub fed until the server closes.
func (s *Server) follow() {
	known := false
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := s.followOnce(&known)
		if s.ctx.Err() != nil {
			return
		}
		s.metrics.feedErrors.Inc()
		s.logger.Warn("following the store failed, trying again", "error", err)
		if time.Since(began) > retry.Most {
			attempt = 0
		}
		pause := time.NewTimer(retry.Wait(attempt, rand.Float64()))
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			pause.Stop()
			return
		}
	}
}

// retry is how a feed that fails is followed again.
var retry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

var errFollowEnded = errors.New("feed ended by itself")

// followOnce goes on where the hub is, or, where it is nowhere, from the end of
// the feed.
func (s *Server) followOnce(known *bool) error {
	bounds, limit, err := s.feed.Bounds(s.ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	from := s.hub.from()
	if !*known || !holds(from, bounds, limit) {
		if *known {
			s.logger.Warn("the store no longer holds what came next, listeners will be told")
		}
		for p := range bounds {
			from[p] = bounds[p].Last
		}
		s.hub.restart(from)
		*known = true
	}
	err = s.feed.Follow(s.ctx, from, s.hub.emit)
	if err == nil {
		return errFollowEnded
	}
	return fmt.Errorf("follow feed: %w", err)
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

// announce sends positions to the live sockets until the server closes.
func (s *Server) announce() {
	ticker := time.NewTicker(s.cfg.PositionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.hub.announce()
		case <-s.ctx.Done():
			return
		}
	}
}
