// Package fanout measures how a receiver sends its events to many WebSockets.
//
//	load ──POST──▶ receiver ──WebSocket──▶ subscribers
//	  └──sent, acked──▶ Round ◀──read────────┘
//
// Each webhook holds one status, and so makes one event that every subscriber is
// to get. What was acked must come at every socket, once.
package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"spillway/bench/load"
	"spillway/bench/subscribers"
)

// The phases, in the order in which they run.
const (
	Idle      = "idle"
	Reference = "reference"
	Edge      = "edge"
	Stuck     = "stuck"
)

// Phases are all there are.
var Phases = []string{Idle, Reference, Edge, Stuck}

// Config says what is measured.
type Config struct {
	Phases []string
	// Sockets are open in idle and edge, Few in reference, Among in stuck.
	Sockets, Few, Among int
	// Rate is of events a second in reference, for Duration.
	Rate     int
	Duration time.Duration
	// Step is how long each rate of edge and stuck is held.
	Step time.Duration
	// First is the first rate of edge; 0 for one that fits the sockets.
	First int
	// StuckRate is of events a second in stuck, for Duration: enough to fill what the
	// kernel holds for a socket that is not read, and its queue.
	StuckRate int
	// Body is the size of a webhook in bytes, Connections over how many they are posted.
	Body, Connections int
}

// DefaultConfig is what the goals are for.
func DefaultConfig() Config {
	return Config{
		Phases: slices.Clone(Phases), Sockets: 10000, Few: 100, Among: 1000,
		Rate: 3300, StuckRate: 500, Duration: 20 * time.Second, Step: 8 * time.Second,
		Body: 600, Connections: 64,
	}
}

const (
	mostSockets = 1_000_000
	// mostRate is of events a second.
	mostRate = 50_000
	// mostSeen bounds the bits that tell what came: one for each event at each socket.
	mostSeen = 16 << 30
)

// Validate names everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Phases) > 0, "phases: one at least of %v", Phases)
	for _, phase := range c.Phases {
		check(slices.Contains(Phases, phase), "phase %q: allowed are %v", phase, Phases)
	}
	check(c.Sockets > 0 && c.Sockets <= mostSockets, "%d sockets: allowed are 1 to %d", c.Sockets, mostSockets)
	check(c.Few > 0 && c.Few <= mostSockets, "%d subscribers: allowed are 1 to %d", c.Few, mostSockets)
	check(c.Among > 0 && c.Among <= mostSockets, "%d sockets beside those that are stuck: allowed are 1 to %d", c.Among, mostSockets)
	check(c.Rate > 0 && c.Rate <= mostRate, "rate of %d events a second: allowed are 1 to %d", c.Rate, mostRate)
	check(c.First >= 0 && c.First <= mostRate, "first rate of %d events a second: allowed are 0 to %d", c.First, mostRate)
	check(c.StuckRate > 0 && c.StuckRate <= mostRate, "stuck rate of %d events a second: allowed are 1 to %d", c.StuckRate, mostRate)
	check(c.Duration >= time.Second && c.Duration <= time.Hour, "duration %s: allowed are 1s to 1h", c.Duration)
	check(c.Step >= time.Second && c.Step <= time.Hour, "step %s: allowed are 1s to 1h", c.Step)
	check(c.Connections > 0 && c.Connections <= 1000, "%d connections: allowed are 1 to 1000", c.Connections)
	if campaign, err := load.NewCampaign(c.Body, "", ""); err != nil {
		errs = append(errs, err)
	} else {
		check(campaign.Statuses() == 1, "body of %d bytes: it must hold one status and not %d", c.Body, campaign.Statuses())
	}
	check(c.seen() <= mostSeen, "%d subscribers for %s at %d events a second are too many events to watch over", c.Few, c.Duration, c.Rate)
	return errors.Join(errs...)
}

// seen is how many bits reference needs.
func (c *Config) seen() float64 { return float64(c.Few) * float64(c.Rate) * c.Duration.Seconds() }

// Most is how many sockets are open at once, without those that are stuck.
func (c *Config) Most() int { return max(c.Sockets, c.Few, c.Among) }

// Target is the receiver that is measured.
type Target struct {
	// Address is where webhooks are posted, Secret what signs them.
	Address, Secret string
	// Subscribe says how its WebSockets are opened.
	Subscribe subscribers.Options
	// Lines is whether a message may hold several events, one a line.
	Lines bool
	// Meter tells what it has used; nil where that is not known.
	Meter Meter
}

// Meter tells what a receiver has used, and has it collect its garbage.
type Meter interface {
	Usage(context.Context) (Usage, error)
	Collect(context.Context) error
}

// Usage is what a receiver has used since it started, and has now.
type Usage struct {
	// Processor is in seconds.
	Processor float64
	// Resident, Heap and Stack are in bytes: what the process has, what of that the
	// heap and the stacks use.
	Resident, Heap, Stack float64
	// Slow are sockets that it closed as too slow, Overruns how often a queue ran full.
	Slow, Overruns float64
}
