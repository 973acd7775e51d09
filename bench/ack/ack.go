// Package ack measures what an acknowledgement costs: a receiver that syncs
// each webhook before it answers, beside the same listener without a log, in
// alternating rounds of one run, since machines are shared and noisy.
//
//	generator ──▶ ceiling | file | paused | serve                each a process of its own
//	              redis | xadd | xadd-grouped ──▶ redis-server   one for each
//	          ◀── answers, /metrics, processor time
//
// What counts are the ratios of the same round. Their medians over all rounds
// are reported with the least and the largest.
//
// All receivers run all the time, and only one has something to do: each is left
// level, with all dispatched, and no round begins while a Redis rewrites its
// append-only file. One that begins within its own round is part of what it costs.
// Before each round all disks are synced, so that what one receiver left to be
// written later is not written in the round of another.
package ack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"spillway/bench/load"
	"spillway/bench/machine"
)

// The receivers that are measured.
const (
	// Ceiling checks signatures and keeps nothing.
	Ceiling = "ceiling"
	// File appends to a plain file.
	File = "file"
	// Paused is Spillway with dispatching not started.
	Paused = "paused"
	// Serve is all of Spillway.
	Serve = "serve"
	// OnRedis is all of Spillway with its events in a Redis that syncs each second.
	OnRedis = "redis"
	// XADD adds each webhook by a command of its own to a stream of a Redis that
	// syncs before it answers, GroupedXADD all that wait at once.
	XADD        = "xadd"
	GroupedXADD = "xadd-grouped"
)

// Kinds are all receivers, in the order of the report.
var Kinds = []string{Ceiling, File, Paused, Serve, OnRedis, XADD, GroupedXADD}

// NeedsRedis is whether receivers of a kind need a Redis of their own.
func NeedsRedis(kind string) bool {
	return kind == OnRedis || kind == XADD || kind == GroupedXADD
}

// Syncs is whether receivers of a kind tell how many webhooks they sync at once.
func Syncs(kind string) bool { return kind != Ceiling && kind != XADD }

// Dispatches is whether receivers of a kind process what they took.
func Dispatches(kind string) bool { return kind == Serve || kind == OnRedis }

// Config says what to measure.
type Config struct {
	// Kinds are measured; Allowed are all that there are.
	Kinds, Allowed []string
	Bodies         []int // bytes
	Connections    []int
	Rounds         int
	// Prime is how long each receiver is loaded once before the rounds, so that
	// its files and its memory are those of one that has run for a while.
	Prime time.Duration
	// Warmup is not counted, Duration is, in each round for each receiver.
	Warmup, Duration time.Duration
	// Settle bounds the wait for dispatching to become level between rounds.
	Settle time.Duration
	// Dir is where the disk's own sync is timed: on the disk of the receivers.
	Dir string
	// Secret signs.
	Secret string
}

// DefaultConfig has every default; Dir and Secret must be set.
func DefaultConfig() Config {
	return Config{
		Kinds:       []string{Ceiling, File, Paused, Serve},
		Allowed:     Kinds,
		Bodies:      []int{600, 2 << 10, 20 << 10},
		Connections: []int{1, 16, 64, 256, 512},
		Rounds:      5,
		Prime:       5 * time.Second,
		Warmup:      500 * time.Millisecond,
		Duration:    3 * time.Second,
		Settle:      2 * time.Minute,
	}
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Kinds) > 0, "kinds: one at least")
	for i, kind := range c.Kinds {
		check(slices.Contains(c.Allowed, kind), "kind %q: allowed are %v", kind, c.Allowed)
		check(!slices.Contains(c.Kinds[:i], kind), "kind %q: named twice", kind)
	}
	check(len(c.Bodies) > 0 && len(c.Connections) > 0, "bodies and connections: one of each at least")
	for _, size := range c.Bodies {
		check(size >= load.MinBody && size <= 1<<20, "body of %d bytes: allowed are %d to %d", size, load.MinBody, 1<<20)
	}
	for _, n := range c.Connections {
		check(n > 0 && n <= 10000, "%d connections: allowed are 1 to 10000", n)
	}
	check(c.Rounds > 0, "%d rounds: allowed is 1 and more", c.Rounds)
	check(c.Duration > 0, "duration %s: must be above 0", c.Duration)
	check(c.Prime >= 0, "prime %s: must not be negative", c.Prime)
	check(c.Warmup >= 0, "warm-up %s: must not be negative", c.Warmup)
	return errors.Join(errs...)
}

// Target is a receiver that runs.
type Target struct {
	// Public and Admin are addresses, host:port. Admin is empty for one that tells
	// nothing of itself.
	Public, Admin string
	// PID is the receiver's process, ServerPID that of the server that it keeps
	// webhooks or events in; 0 for none.
	PID, ServerPID int
	// Redis asks that server where it is one that may rewrite its append-only file.
	Redis *goredis.Client
	// Dispatches is whether it processes what it took.
	Dispatches bool
	// Stop ends it and removes what it kept.
	Stop func() error
}

// Run measures every combination of body and connections, with fresh receivers
// for each size of bodies. start starts one of a kind. Run says what it does to
// progress, a line a round.
func Run(ctx context.Context, cfg Config, start func(kind string) (*Target, error), progress io.Writer) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	report := &Report{Machine: machine.This(), Rounds: cfg.Rounds, Seconds: cfg.Duration.Seconds()}
	for _, size := range cfg.Bodies {
		cases, err := runBody(ctx, cfg, start, size, progress)
		if err != nil {
			return nil, fmt.Errorf("bodies of %d bytes: %w", size, err)
		}
		report.Cases = append(report.Cases, cases...)
	}
	return report, nil
}

func runBody(ctx context.Context, cfg Config, start func(kind string) (*Target, error), size int, progress io.Writer) (_ []*Case, err error) {
	targets := map[string]*Target{}
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.Stop())
		}
	}()
	for _, kind := range cfg.Kinds {
		t, err := start(kind)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", kind, err)
		}
		targets[kind] = t
		if err := prime(ctx, cfg, t, size); err != nil {
			return nil, fmt.Errorf("load %s: %w", kind, err)
		}
	}
	var cases []*Case
	for _, connections := range cfg.Connections {
		c, err := runCase(ctx, cfg, targets, size, connections, progress)
		if err != nil {
			return nil, fmt.Errorf("%d connections: %w", connections, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// primeConnections load a receiver before the rounds.
const primeConnections = 64

func prime(ctx context.Context, cfg Config, t *Target, size int) error {
	campaign, err := load.NewCampaign(size, cfg.Secret, t.Public)
	if err != nil {
		return err
	}
	if err := load.Closed(ctx, campaign, t.Public, primeConnections, 0, cfg.Prime).Clean(); err != nil {
		return err
	}
	if t.Dispatches {
		return newWatch(t).settle(ctx, cfg.Settle)
	}
	return nil
}

// runCase runs all rounds of one combination. The order of the receivers turns
// from round to round, so that none always follows the same.
func runCase(ctx context.Context, cfg Config, targets map[string]*Target, size, connections int, progress io.Writer) (*Case, error) {
	c := &Case{Body: size, Connections: connections, Samples: map[string][]Sample{}}
	for round := range cfg.Rounds {
		syncTime, err := timeSync(cfg.Dir, size)
		if err != nil {
			return nil, err
		}
		c.Syncs = append(c.Syncs, syncTime)
		for i := range cfg.Kinds {
			kind := cfg.Kinds[(i+round)%len(cfg.Kinds)]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := awaitNoRewrite(ctx, targets, cfg.Settle); err != nil {
				return nil, err
			}
			unix.Sync()
			s, err := measure(ctx, cfg, targets[kind], size, connections)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			c.Samples[kind] = append(c.Samples[kind], s)
			fmt.Fprintf(progress, "%5d B  %4d connections  round %d/%d  %-12s %8.0f/s  p99 %s\n",
				size, connections, round+1, cfg.Rounds, kind, s.Rate, s.P99)
		}
	}
	c.compare()
	return c, nil
}

// measure runs one round of one receiver and leaves it level.
func measure(ctx context.Context, cfg Config, t *Target, size, connections int) (Sample, error) {
	campaign, err := load.NewCampaign(size, cfg.Secret, t.Public)
	if err != nil {
		return Sample{}, err
	}
	watch := newWatch(t)
	defer watch.close()
	// The processor time of the warm-up is left out.
	warm := load.Closed(ctx, campaign, t.Public, connections, 0, cfg.Warmup)
	if err := warm.Clean(); err != nil {
		return Sample{}, err
	}
	if err := watch.begin(ctx); err != nil {
		return Sample{}, err
	}
	result := load.Closed(ctx, campaign, t.Public, connections, 0, cfg.Duration)
	if err := result.Clean(); err != nil {
		return Sample{}, err
	}
	s := Sample{
		Rate: result.Rate(),
		P50:  result.Quantile(50), P99: result.Quantile(99), P999: result.Quantile(99.9),
	}
	if err := watch.end(&s, result.Answers[200]); err != nil {
		return Sample{}, err
	}
	if t.Dispatches {
		return s, watch.settle(ctx, cfg.Settle)
	}
	return s, nil
}
