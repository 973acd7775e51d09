// Package campaign plays Meta for a campaign of a business, and tells whether a
// receiver held: it knows what it was acked, and compares that with the events
// which a subscriber gets.
//
//	plan ──webhooks, at their times──▶ sender ──posts──▶ receiver
//	                                     │                  │ events
//	                                  sent, acked           ▼
//	                                     └────▶ ledger ◀── subscription
//	                                              │
//	                                              └──▶ Result, with its Verdict
//
// The load is open: when a webhook is posted does not depend on the answers to
// others, and latencies count from when it was due. All that is drawn is drawn
// from the seed; messages and customers have ids of the run's own, so that a
// receiver which has seen the same campaign before takes them for others.
package campaign

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says what is sent.
type Config struct {
	// Recipients are sent one message each.
	Recipients int
	Shape      Shape
	Seed       uint64
	// Redeliver is the share of webhooks that come a second time though they were
	// acked.
	Redeliver float64
	// Batch is the most updates in one webhook.
	Batch int
	// Delays scales how long recipients take: 1 is some seconds.
	Delays float64
	// Connections is the most there are. Where all wait for an answer a post is
	// late, and its lateness is part of its latency.
	Connections int
	// KillEvery is how often the receiver is killed; 0 for never.
	KillEvery time.Duration
	// RetryFor is how long after the last update what was not acked is sent again.
	RetryFor time.Duration
	// Settle is how long nothing may come before events that have not come are
	// given up.
	Settle time.Duration
}

// presets are campaigns by name.
var presets = map[string]Config{
	"small": {Recipients: 2_000, Delays: 0.3, Batch: 20, Redeliver: 0.05,
		Shape: Shape{Rate: 200, Ramp: 2 * time.Second}},
	"100k": {Recipients: 100_000, Delays: 1, Batch: 100, Redeliver: 0.02,
		Shape: Shape{Rate: 1000, Ramp: 10 * time.Second}},
	// One update a webhook: what Meta sends for a number with 1000 messages a second.
	"1000mps": {Recipients: 60_000, Delays: 1, Batch: 1, Redeliver: 0.1,
		Shape: Shape{Rate: 1000, Ramp: 5 * time.Second}},
	"burst10x": {Recipients: 40_000, Delays: 0.3, Batch: 20, Redeliver: 0.02,
		Shape: Shape{Rate: 300, Ramp: 3 * time.Second, BurstFactor: 10, BurstAt: 15 * time.Second, BurstLength: 10 * time.Second}},
}

// DefaultPreset is what is run where none is named.
const DefaultPreset = "small"

// Presets are their names, the smallest campaign first.
func Presets() []string { return []string{"small", "100k", "1000mps", "burst10x"} }

// Preset gives a preset's Config.
func Preset(name string) (Config, error) {
	c, ok := presets[name]
	if !ok {
		return Config{}, fmt.Errorf("preset %q is not allowed; allowed: %s", name, strings.Join(Presets(), ", "))
	}
	c.Seed, c.Connections, c.RetryFor, c.Settle = 1, 1024, time.Minute, 15*time.Second
	return c, nil
}

// Bounds of a Config.
const (
	maxRate = 100_000
	// maxBatch is Meta's own.
	maxBatch       = 1000
	maxConnections = 10_000
)

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Recipients >= 1 && c.Recipients <= MaxRecipients, "%d recipients: allowed are 1 to %d", c.Recipients, MaxRecipients)
	check(c.Shape.Rate > 0 && c.Shape.Rate <= maxRate, "rate of %v messages a second: allowed is more than 0, up to %d", c.Shape.Rate, maxRate)
	check(c.Redeliver >= 0 && c.Redeliver <= 1, "%v redelivered: allowed are 0 to 1", c.Redeliver)
	check(c.Batch >= 1 && c.Batch <= maxBatch, "%d updates a webhook: allowed are 1 to %d", c.Batch, maxBatch)
	check(c.Delays > 0 && c.Delays <= 100, "delays of %v: allowed is more than 0, up to 100", c.Delays)
	check(c.Connections >= 1 && c.Connections <= maxConnections, "%d connections: allowed are 1 to %d", c.Connections, maxConnections)
	check(c.KillEvery == 0 || c.KillEvery >= minKillEvery, "kill every %s: allowed is %s and more", c.KillEvery, minKillEvery)
	check(c.RetryFor >= 0, "retry for %s: must not be negative", c.RetryFor)
	check(c.Settle > 0, "settle %s: must be above 0", c.Settle)
	return errors.Join(errs...)
}

// minKillEvery leaves a receiver time to start.
const minKillEvery = 2 * time.Second

// until is when the last update is due.
func (c *Config) until(run uint64) time.Duration {
	var l life
	var last time.Duration
	for n := range c.Recipients {
		at := c.Shape.at(n)
		l.draw(c, run, n)
		for _, u := range l.updates {
			last = max(last, at+u.due)
		}
	}
	return last + batchWindow
}
