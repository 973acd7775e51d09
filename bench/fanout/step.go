package fanout

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"spillway/bench/load"
	"spillway/bench/subscribers"
)

const (
	// quiet is how long nothing comes before it is taken that nothing will.
	quiet = 2 * time.Second
	// drained bounds the wait for what was acked.
	drained = 20 * time.Second
	// again is waited for what comes twice.
	again = 100 * time.Millisecond
	look  = 10 * time.Millisecond
	// mostUnsent is the share of events that may be due and not posted.
	mostUnsent = 0.02
)

// step holds a rate for a time, and waits for what was acked.
func (b *bench) step(ctx context.Context, pool *subscribers.Pool, rate int, duration time.Duration) (*Step, error) {
	// Each connection is used about once a second at least: a receiver closes what is idle.
	cfg := load.OpenConfig{Rate: rate, Connections: min(b.cfg.Connections, rate), Duration: duration}
	campaign, round, err := b.round(int(float64(rate)*duration.Seconds()) + 1)
	if err != nil {
		return nil, err
	}
	if err := pool.Begin(round); err != nil {
		return nil, err
	}
	s := &Step{Rate: rate, Sockets: pool.Sockets()}
	before, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	all, generator, began := machineTime(), processorTime(), time.Now()
	posted := load.Open(ctx, campaign, b.target.Address, cfg)
	if posted.Answers[http.StatusOK] == 0 {
		return nil, fmt.Errorf("no webhook was acked: answers %v, %w", posted.Answers, posted.Err)
	}
	b.drain(ctx, pool, round)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	all, s.GeneratorCPU = machineTime()-all, processorTime()-generator
	after, err := b.usage(ctx)
	if err != nil {
		return nil, err
	}
	s.count(pool, round, posted, began)
	s.use(before, after)
	s.OtherCPU = max(0, all-s.GeneratorCPU-s.ReceiverCPU)
	s.Fault = s.fault()
	return s, nil
}

// round makes webhooks, and a round that knows them again.
func (b *bench) round(events int) (*load.Campaign, *subscribers.Round, error) {
	campaign, err := load.NewCampaign(b.cfg.Body, b.target.Secret, b.target.Address)
	if err != nil {
		return nil, nil, err
	}
	round := subscribers.NewRound(events, parser(campaign, b.target.Lines))
	campaign.OnSend(func(serial uint64) { round.Sent(int(serial) - 1) })
	campaign.OnAck(func(serial uint64) { round.Expect(int(serial) - 1) })
	return campaign, round, nil
}

// parser finds the events of a campaign in a message.
func parser(campaign *load.Campaign, lines bool) subscribers.Parse {
	one := func(message []byte, numbers []int) []int {
		if serial, ours := campaign.Serial(message); ours {
			numbers = append(numbers, int(serial)-1)
		}
		return numbers
	}
	if !lines {
		return one
	}
	return func(message []byte, numbers []int) []int {
		for more := true; more; {
			var line []byte
			line, message, more = bytes.Cut(message, []byte{'\n'})
			numbers = one(line, numbers)
		}
		return numbers
	}
}

// drain waits until all that was acked came, or nothing comes any more.
func (b *bench) drain(ctx context.Context, pool *subscribers.Pool, round *subscribers.Round) {
	ctx, cancel := context.WithTimeout(ctx, drained)
	defer cancel()
	last, since := int64(-1), time.Now()
	for wait := look; ; {
		switch n := pool.Events(); {
		case n >= round.Expected()*int64(pool.Sockets()):
			pause(ctx, again)
			return
		case n != last:
			last, since = n, time.Now()
		case time.Since(since) > quiet:
			return
		}
		if pause(ctx, wait); ctx.Err() != nil {
			return
		}
	}
}

// settle waits until no more comes, so that a step does not begin with what is
// left of the one before.
func (b *bench) settle(ctx context.Context, pool *subscribers.Pool) {
	ctx, cancel := context.WithTimeout(ctx, drained)
	defer cancel()
	for last := int64(-1); ctx.Err() == nil; pause(ctx, quiet/4) {
		n := pool.Bytes()
		if n == last {
			return
		}
		last = n
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// count fills in what came.
func (s *Step) count(pool *subscribers.Pool, round *subscribers.Round, posted *load.Result, began time.Time) {
	c := pool.Count()
	s.Events, s.Unsent, s.Late = round.Expected(), posted.Unsent, posted.Late.Seconds()
	s.Refused = posted.Errors
	for status, n := range posted.Answers {
		if status != http.StatusOK {
			s.Refused += n
		}
	}
	s.Seconds = max(posted.Elapsed, c.Last.Sub(began)).Seconds()
	s.Frames, s.Messages, s.Bytes = c.Events, c.Messages, c.Bytes
	s.FramesPerSecond = float64(s.Frames) / s.Seconds
	s.P50, s.P99 = load.Quantile(c.Latency, 50).Seconds(), load.Quantile(c.Latency, 99).Seconds()
	s.Max = load.Quantile(c.Latency, 100).Seconds()
	s.Lost, s.Short, s.Doubled, s.Closed = c.Lost, c.Short, c.Doubled, pool.Closes()
}

// use fills in what it cost.
func (s *Step) use(before, after Usage) {
	s.ReceiverCPU, s.Resident = after.Processor-before.Processor, after.Resident
	s.Slow, s.Overruns = int64(after.Slow-before.Slow), int64(after.Overruns-before.Overruns)
	if s.Frames > 0 {
		s.PerMillion = s.ReceiverCPU / float64(s.Frames) * 1e6
	}
}

// fault is why the rate was not sustained, or empty.
func (s *Step) fault() string {
	switch {
	case len(s.Closed) > 0:
		return closedText(s.Closed)
	case s.Lost > 0:
		return fmt.Sprintf("%d events lost at %d sockets", s.Lost, s.Short)
	case s.Doubled > 0:
		return fmt.Sprintf("%d events doubled", s.Doubled)
	case s.Refused > 0:
		return fmt.Sprintf("%d webhooks not acked", s.Refused)
	case float64(s.Unsent) > mostUnsent*float64(s.Events+s.Unsent):
		return fmt.Sprintf("%d webhooks not posted in time", s.Unsent)
	case s.P99 > mostEdge.Seconds():
		return fmt.Sprintf("p99 above %s", mostEdge)
	}
	return ""
}

func closedText(closed map[int]subscribers.Closed) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(closed)) {
		parts = append(parts, fmt.Sprintf("%d sockets closed with %d", closed[code].Count, code))
	}
	return strings.Join(parts, ", ")
}

// usage is the receiver's, all 0 where it is not known.
func (b *bench) usage(ctx context.Context) (Usage, error) {
	if b.target.Meter == nil {
		return Usage{}, nil
	}
	return b.target.Meter.Usage(ctx)
}

// collected is usage after the garbage was collected.
func (b *bench) collected(ctx context.Context) (Usage, error) {
	if b.target.Meter == nil {
		return Usage{}, nil
	}
	if err := b.target.Meter.Collect(ctx); err != nil {
		return Usage{}, err
	}
	return b.target.Meter.Usage(ctx)
}

// processorTime is this process's, in seconds.
func processorTime() float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// machineTime is what all processes have used, in seconds; 0 where the system does
// not say.
func machineTime() float64 {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0
	}
	c := stat.CPUTotal
	return c.User + c.Nice + c.System + c.Steal
}
