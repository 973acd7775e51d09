package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

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
		if time.Since(began) > maxRetry {
			attempt = 0
		}
		pause := time.NewTimer(retryDelay(attempt, rand.Float64()))
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			pause.Stop()
			return
		}
	}
}

const (
	minRetry = 50 * time.Millisecond
	maxRetry = 5 * time.Second
)

// retryDelay doubles from minRetry to maxRetry; chance, in [0, 1), takes up to
// half of it away.
func retryDelay(attempt int, chance float64) time.Duration {
	delay := maxRetry
	if attempt < 10 {
		delay = min(minRetry<<attempt, maxRetry)
	}
	return delay - time.Duration(chance*float64(delay)/2)
}

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
