// Package contest measures Spillway's stream beside what one builds on a library
// that does the same, in alternating rounds over the same sockets, events and cores.
//
//	every round, every server in turn ──▶ a rate that all sustain ──▶ the edge
package contest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"spillway/bench/ack"
	"spillway/bench/fanout"
)

// Config says what is measured.
type Config struct {
	// Sockets are numbers of them, one case each.
	Sockets []int
	// Frames a second, over all sockets, are what all shall sustain: the rate at which
	// processor times are compared.
	Frames int
	Rounds int
	// Duration is how long that rate is held, Step each rate of the edge; 0 for none.
	Duration, Step time.Duration
	// Body is the size of a webhook, in bytes.
	Body int
}

// DefaultConfig takes about six minutes.
func DefaultConfig() Config {
	return Config{Sockets: []int{1000, 10_000}, Frames: 100_000, Rounds: 3, Duration: 4 * time.Second, Step: 3 * time.Second, Body: 600}
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Rounds < 1 || c.Rounds > 100 {
		errs = append(errs, fmt.Errorf("%d rounds of the stream: allowed are 1 to 100", c.Rounds))
	}
	if c.Frames < 1 || c.Frames > 10_000_000 {
		errs = append(errs, fmt.Errorf("%d frames a second: allowed are 1 to 10000000", c.Frames))
	}
	for _, sockets := range c.Sockets {
		f := c.fanout()
		f.Sockets = sockets
		errs = append(errs, f.Validate())
	}
	return errors.Join(errs...)
}

// connections are enough for posts that wait for an answer not to hold up others.
const connections = 256

func (c Config) fanout() fanout.Config {
	f := fanout.DefaultConfig()
	f.Duration, f.Body, f.Connections = c.Duration, c.Body, connections
	if c.Step != 0 {
		f.Step = c.Step
	}
	return f
}

// Server is one of those that are measured, and runs.
type Server struct {
	Name   string
	Target fanout.Target
}

// Sample is what a round found of a server.
type Sample struct {
	// Held is at the rate that all shall sustain, Edge the highest that this one did;
	// nil where that was none.
	Held *fanout.Step `json:"held"`
	Edge *fanout.Step `json:"edge,omitempty"`
}

// Case is what was measured with a number of sockets.
type Case struct {
	Sockets int `json:"sockets"`
	// Rate is that of Held, in events a second.
	Rate int `json:"rate"`
	// Samples are by name, one a round.
	Samples map[string][]Sample `json:"samples"`
}

// Result is all that was measured.
type Result struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Step    float64 `json:"step_seconds"`
	Cases   []*Case `json:"cases"`
}

// The edge is looked for in large steps first, and then around what was found.
const (
	aboveHeld   = 4 // times the rate that all sustain
	firstGrowth = 2
	growth      = 1.1
)

// Run measures the servers, each with its sockets open and those of the others
// closed. Every other round takes them in the opposite order.
func Run(ctx context.Context, cfg Config, servers []Server, note func(format string, args ...any)) (*Result, error) {
	r := &Result{Rounds: cfg.Rounds, Seconds: cfg.Duration.Seconds(), Step: cfg.Step.Seconds()}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	for _, sockets := range cfg.Sockets {
		c := &Case{Sockets: sockets, Rate: max(1, cfg.Frames/sockets), Samples: map[string][]Sample{}}
		r.Cases = append(r.Cases, c)
		for round := range cfg.Rounds {
			order := slices.Clone(servers)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, server := range order {
				note("%s, %d sockets, round %d", server.Name, sockets, round+1)
				if err := c.measure(ctx, cfg, server, note); err != nil {
					return r, fmt.Errorf("measure %s with %d sockets: %w", server.Name, sockets, err)
				}
			}
		}
	}
	return r, nil
}

func (c *Case) measure(ctx context.Context, cfg Config, server Server, note func(string, ...any)) error {
	return fanout.With(ctx, cfg.fanout(), server.Target, c.Sockets, note, func(s *fanout.Sockets) error {
		held, err := s.Hold(ctx, c.Rate)
		if err != nil {
			return err
		}
		sample := Sample{Held: held}
		if cfg.Step != 0 {
			first, by := c.first(server.Name)
			edge, err := s.Edge(ctx, first, by)
			if err != nil {
				return err
			}
			sample.Edge = edge.Highest
		}
		c.Samples[server.Name] = append(c.Samples[server.Name], sample)
		return nil
	})
}

// first is the rate that the search for the edge begins with: that of the round
// before, or one above the rate that all sustain.
func (c *Case) first(name string) (rate int, by float64) {
	for _, sample := range slices.Backward(c.Samples[name]) {
		if sample.Edge != nil {
			return sample.Edge.Rate, growth
		}
	}
	return aboveHeld * c.Rate, firstGrowth
}

// Figure is the spread of a figure over the rounds in which there is one: it is
// above 0. Found is whether there is such a round.
func (c *Case) Figure(name string, of func(Sample) float64) (spread ack.Spread, found bool) {
	return c.spread(name, name, func(s, _ Sample) float64 { return of(s) })
}

// Ratio is the spread of a figure of one server to that of another in the same
// round, over the rounds in which both have it.
func (c *Case) Ratio(name, base string, of func(Sample) float64) (spread ack.Spread, found bool) {
	return c.spread(name, base, func(s, b Sample) float64 {
		if of(b) > 0 {
			return of(s) / of(b)
		}
		return 0
	})
}

func (c *Case) spread(name, base string, of func(s, b Sample) float64) (spread ack.Spread, found bool) {
	var values []float64
	for i := range min(len(c.Samples[name]), len(c.Samples[base])) {
		if value := of(c.Samples[name][i], c.Samples[base][i]); value > 0 {
			values = append(values, value)
		}
	}
	if len(values) == 0 {
		return spread, false
	}
	return ack.SpreadOf(values), true
}
