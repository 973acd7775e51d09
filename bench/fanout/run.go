package fanout

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"spillway/bench/machine"
	"spillway/bench/subscribers"
)

const (
	// idleFor is how long sockets are idle before they are weighed.
	idleFor = 3 * time.Second
	// firstFrames is the first rate of edge, in frames a second over all sockets.
	firstFrames = 50_000
	// closeEnough is how far above the highest rate that was sustained the lowest is
	// that was not.
	closeEnough = 1.10
	tries       = 2
)

// stuckSockets are how many do not read, one step each.
var stuckSockets = []int{0, 1, 10}

// bench is a run under way.
type bench struct {
	cfg    Config
	target Target
	note   func(format string, args ...any)
	result Result
}

// Run measures the phases, in their order. What was measured before an error is in
// the result.
func Run(ctx context.Context, cfg Config, target Target, note func(format string, args ...any)) (*Result, error) {
	b := &bench{cfg: cfg, target: target, note: note}
	b.result = Result{Machine: machine.This(), Sockets: cfg.Sockets, Body: cfg.Body}
	if err := cfg.Validate(); err != nil {
		return &b.result, err
	}
	phases := map[string]func(context.Context) error{Idle: b.idle, Reference: b.reference, Edge: b.edge, Stuck: b.stuck}
	for _, phase := range Phases {
		if !slices.Contains(cfg.Phases, phase) {
			continue
		}
		if err := phases[phase](ctx); err != nil {
			return &b.result, fmt.Errorf("measure %s: %w", phase, err)
		}
	}
	b.result.Verdict = judge(&b.result)
	return &b.result, nil
}

// with opens so many sockets for f.
func (b *bench) with(ctx context.Context, sockets int, f func(*subscribers.Pool) error) error {
	pool, err := subscribers.New(b.target.Subscribe)
	if err != nil {
		return err
	}
	if err = pool.Open(ctx, sockets); err == nil {
		err = f(pool)
	}
	return errors.Join(err, pool.Close())
}

func (b *bench) idle(ctx context.Context) error {
	before, err := b.collected(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	return b.with(ctx, b.cfg.Sockets, func(pool *subscribers.Pool) error {
		opened := time.Since(began)
		pause(ctx, idleFor)
		grown, err := b.usage(ctx)
		if err != nil {
			return err
		}
		after, err := b.collected(ctx)
		if err != nil {
			return err
		}
		if open := pool.Sockets(); open < b.cfg.Sockets {
			return fmt.Errorf("%d of %d sockets closed while they were idle: %s", b.cfg.Sockets-open, b.cfg.Sockets, closedText(pool.Closes()))
		}
		each := func(before, after float64) float64 { return (after - before) / float64(b.cfg.Sockets) }
		b.result.Idle = &IdleResult{
			Sockets: b.cfg.Sockets, OpenSeconds: opened.Seconds(),
			Resident: each(before.Resident, grown.Resident), Heap: each(before.Heap, after.Heap), Stack: each(before.Stack, after.Stack),
		}
		b.note("idle: %.1f KiB a socket", b.result.Idle.Resident/1024)
		return nil
	})
}

func (b *bench) reference(ctx context.Context) error {
	return b.with(ctx, b.cfg.Few, func(pool *subscribers.Pool) (err error) {
		b.result.Reference, err = b.step(ctx, pool, b.cfg.Rate, b.cfg.Duration)
		if err == nil {
			b.noteStep(Reference, b.result.Reference)
		}
		return err
	})
}

// edge doubles the rate until it is not sustained, and then halves the distance.
func (b *bench) edge(ctx context.Context) error {
	b.result.Edge = &EdgeResult{}
	return b.with(ctx, b.cfg.Sockets, func(pool *subscribers.Pool) error {
		return b.findEdge(ctx, pool, b.cfg.Sockets, b.firstRate(), 2, b.result.Edge)
	})
}

// findEdge tries rates from first on, and puts what came of each into edge. A rate
// is not sustained that failed tries times: others may use the machine.
func (b *bench) findEdge(ctx context.Context, pool *subscribers.Pool, sockets, first int, growth float64, edge *EdgeResult) error {
	return search(first, growth, func(rate int) (bool, error) {
		for range tries {
			s, err := b.edgeStep(ctx, pool, sockets, rate)
			if err != nil {
				return false, err
			}
			if edge.Steps = append(edge.Steps, s); s.Fault == "" {
				edge.Highest = s
				return true, nil
			}
		}
		return false, nil
	})
}

func (b *bench) edgeStep(ctx context.Context, pool *subscribers.Pool, sockets, rate int) (*Step, error) {
	s, err := b.held(ctx, pool, sockets, rate, b.cfg.Step)
	if err == nil {
		b.noteStep(Edge, s)
	}
	return s, err
}

// held holds a rate with so many sockets, of which some may have been closed in the
// step before.
func (b *bench) held(ctx context.Context, pool *subscribers.Pool, sockets, rate int, duration time.Duration) (*Step, error) {
	b.settle(ctx, pool)
	if err := pool.Open(ctx, sockets); err != nil {
		return nil, err
	}
	return b.step(ctx, pool, rate, duration)
}

func (b *bench) firstRate() int {
	if b.cfg.First > 0 {
		return b.cfg.First
	}
	return max(1, firstFrames/b.cfg.Sockets)
}

// search tries rates, each higher than all that were sustained and lower than all
// that were not; growth is by how much, until there are both.
func search(rate int, growth float64, try func(rate int) (sustained bool, err error)) error {
	low, high := 0, 0
	for {
		sustained, err := try(rate)
		if err != nil {
			return err
		}
		if sustained {
			low = rate
		} else {
			high = rate
		}
		if rate = nextRate(low, high, growth); rate == 0 {
			return nil
		}
	}
}

// nextRate is the rate to try when low was sustained and high was not, with 0 for
// neither yet; 0 where the search is over.
func nextRate(low, high int, growth float64) int {
	switch {
	case high == 0:
		if low == mostRate {
			return 0
		}
		return min(max(low+1, int(growth*float64(low))), mostRate)
	case low == 0:
		return min(high-1, int(float64(high)/growth))
	case float64(high) <= closeEnough*float64(low) || high-low < 2:
		return 0
	}
	return min(high-1, max(low+1, int(math.Sqrt(float64(low)*float64(high)))))
}

// stuck holds a rate with some sockets that do not read.
func (b *bench) stuck(ctx context.Context) error {
	return b.with(ctx, b.cfg.Among, func(pool *subscribers.Pool) error {
		for _, n := range stuckSockets {
			s, err := b.stuckStep(ctx, pool, n)
			if err != nil {
				return err
			}
			b.noteStep(Stuck, s)
			b.result.Stuck = append(b.result.Stuck, s)
		}
		return nil
	})
}

func (b *bench) stuckStep(ctx context.Context, pool *subscribers.Pool, stuck int) (*Step, error) {
	b.settle(ctx, pool)
	if err := pool.Open(ctx, b.cfg.Among); err != nil {
		return nil, err
	}
	if err := pool.OpenStuck(ctx, stuck); err != nil {
		return nil, err
	}
	defer pool.CloseStuck()
	s, err := b.step(ctx, pool, b.cfg.StuckRate, b.cfg.Duration)
	if s != nil {
		s.Stuck = stuck
	}
	return s, err
}
