package fanout

import (
	"context"

	"spillway/bench/subscribers"
)

// Sockets are open at a target, for who measures several targets in turn.
type Sockets struct {
	bench   *bench
	pool    *subscribers.Pool
	sockets int
}

// With opens so many sockets for f. The phases of cfg are not run.
func With(ctx context.Context, cfg Config, target Target, sockets int, note func(format string, args ...any), f func(*Sockets) error) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	b := &bench{cfg: cfg, target: target, note: note}
	return b.with(ctx, sockets, func(pool *subscribers.Pool) error {
		return f(&Sockets{bench: b, pool: pool, sockets: sockets})
	})
}

// Hold holds a rate of events a second for the config's duration.
func (s *Sockets) Hold(ctx context.Context, rate int) (*Step, error) {
	step, err := s.bench.held(ctx, s.pool, s.sockets, rate, s.bench.cfg.Duration)
	if err == nil {
		s.bench.noteStep(Reference, step)
	}
	return step, err
}

// Edge finds the highest rate that is sustained: from first on, by growth at a
// time, each for the config's step.
func (s *Sockets) Edge(ctx context.Context, first int, growth float64) (*EdgeResult, error) {
	edge := &EdgeResult{}
	err := s.bench.findEdge(ctx, s.pool, s.sockets, first, growth, edge)
	return edge, err
}
