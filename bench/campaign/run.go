package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"spillway/bench/machine"
	"spillway/dispatch/stream/client"
)

// Receiver is what a campaign is run against.
type Receiver struct {
	// URL is where webhooks are posted to, Secret what they are signed with.
	URL    *url.URL
	Secret string
	// Subscription gives its events.
	Subscription Subscription
	// Kill kills it and starts it again; nil where that cannot be done.
	Kill func(context.Context) error
	// Processor is the processor time it has used, in seconds; nil where that is
	// not known.
	Processor func() float64
}

// Subscription reads the events of a receiver as its users do.
type Subscription interface {
	// Follow reads from now on until ctx ends or it fails for good. Only one
	// goroutine calls the Sink at a time.
	Follow(ctx context.Context, sink Sink) error
	// Name is websocket or redis.
	Name() string
}

// Rereader is a Subscription that can read all events since Follow began once
// more. Where connections were lost it tells what is kept twice from what only came
// twice, as it may over two connections.
type Rereader interface {
	Reread(ctx context.Context, see func(Event)) error
}

// Sink takes what a subscription reads.
type Sink interface {
	// Ready tells that events are read from now on; again after each Lost.
	Ready()
	// Lost tells that a connection, or an attempt at one, was lost and why: what was
	// read of late may come again.
	Lost(error)
	See(Event)
}

const (
	// readyWithin is how long a subscription may take to begin.
	readyWithin = 30 * time.Second
	// linger is how long doubles are waited for once all has come.
	linger = 2 * time.Second
	// rereadWithin bounds reading all once more.
	rereadWithin = 5 * time.Minute
	// progressEvery is how often progress is told.
	progressEvery = 200 * time.Millisecond
)

// Run runs a campaign against a receiver, and tells progress how far it is. An
// error is of the run; what the receiver did wrong is in the Result. Where ctx
// ends the campaign is cut short, and its Verdict says so.
func Run(ctx context.Context, cfg Config, receiver Receiver, progress func(Progress)) (*Result, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.KillEvery > 0 && receiver.Kill == nil {
		return nil, errors.New("a receiver of someone else's cannot be killed")
	}
	r := newRunning(cfg, receiver)
	followed, stop, err := r.follow(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	used := r.used()
	err = r.campaign(ctx, followed, progress)
	stop()
	if err == nil {
		err = r.reread(ctx)
	}
	var cut string
	switch broken := (*brokenError)(nil); {
	case ctx.Err() != nil:
		cut = "the campaign was interrupted"
	case errors.As(err, &broken):
		cut = broken.Error()
	case err != nil:
		return nil, err
	}
	return r.result(used, cut), nil
}

// reread counts what is kept twice, where that cannot be told otherwise.
func (r *running) reread(ctx context.Context) error {
	again, can := r.receiver.Subscription.(Rereader)
	if !can || !r.ledger.reconnected() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rereadWithin)
	defer cancel()
	r.ledger.recount()
	err := again.Reread(ctx, r.See)
	if trimmed := (*client.SinceError)(nil); errors.As(err, &trimmed) {
		r.doubt = "connections were lost, and the receiver no longer keeps all events: what it kept twice may have been taken for what came twice"
		return nil
	}
	if gone := r.ledger.gone(); err == nil && gone > 0 {
		err = fmt.Errorf("%d that came before do not come again", gone)
	}
	if err != nil {
		return &brokenError{"the events could not be read once more", err}
	}
	return nil
}

// brokenError is a subscription that ended, or a receiver that did not start
// again: the campaign cannot go on, and the receiver did not hold.
type brokenError struct {
	what string
	err  error
}

func (e *brokenError) Error() string { return fmt.Sprintf("%s: %v", e.what, e.err) }

// running is a campaign under way.
type running struct {
	cfg      Config
	receiver Receiver
	run      uint64
	ready    chan struct{}
	once     sync.Once
	// begun is set once clock is; nothing of ours comes before.
	begun  atomic.Bool
	clock  clock
	ledger *ledger
	meter  *meter
	sender *sender
	// doubt is what could not be found out, if anything.
	doubt string

	mu sync.Mutex
	// lost is why a connection was lost last; under mu.
	lost error
}

func newRunning(cfg Config, receiver Receiver) *running {
	r := &running{cfg: cfg, receiver: receiver, run: rand.Uint64(), ready: make(chan struct{}), meter: newMeter()}
	r.ledger = newLedger(r.run, cfg.Recipients)
	plan := newPlan(&r.cfg, r.run)
	plan.begun = r.ledger.add
	r.sender = &sender{
		cfg: &r.cfg, run: r.run, target: receiver.URL, secret: receiver.Secret, plan: plan,
		until: r.cfg.until(r.run), ledger: r.ledger, meter: r.meter,
	}
	return r
}

// Ready, Lost and See make it the Sink of its subscription.
func (r *running) Ready() {
	r.ledger.connected()
	r.meter.reconnected()
	r.once.Do(func() { close(r.ready) })
}

// Lost: see Sink.
func (r *running) Lost(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = err
}

// See: see Sink.
func (r *running) See(e Event) {
	if !r.begun.Load() {
		return
	}
	if latency, own := r.ledger.see(e, r.clock.now()); own {
		r.meter.delivered(latency)
	}
}

// follow begins the subscription. The channel gives why it ended; stop waits for
// it, and may be called again.
func (r *running) follow(ctx context.Context) (ended <-chan error, stop func(), err error) {
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(func() { done <- r.receiver.Subscription.Follow(following, r) })
	stop = func() {
		cancel()
		group.Wait()
	}
	select {
	case <-r.ready:
		return done, stop, nil
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(readyWithin):
		r.mu.Lock()
		err = fmt.Errorf("no events can be read after %s: %w", readyWithin, r.lost)
		r.mu.Unlock()
	}
	stop()
	return nil, nil, fmt.Errorf("subscribe: %w", err)
}

// campaign sends, and waits for the events.
func (r *running) campaign(ctx context.Context, followed <-chan error, progress func(Progress)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.clock.began = time.Now()
	r.sender.clock = r.clock
	r.meter.clock = r.clock
	r.begun.Store(true)
	var group sync.WaitGroup
	ticking, stopTicking := context.WithCancel(context.Background())
	group.Go(func() { r.tick(ticking, progress) })
	defer group.Wait()
	defer stopTicking()

	sending, sent := context.WithCancel(ctx)
	defer sent()
	group.Go(func() {
		select {
		case err := <-followed:
			cancel(&brokenError{"the subscription ended", err})
		case <-ticking.Done():
		}
	})
	var killing sync.WaitGroup
	if r.cfg.KillEvery > 0 {
		killing.Go(func() { r.kill(sending, cancel) })
	}
	err := r.sender.send(ctx)
	sent()
	killing.Wait()
	if err == nil {
		err = r.settle(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// kill kills the receiver again and again.
func (r *running) kill(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-time.After(r.cfg.KillEvery):
		case <-ctx.Done():
			return
		}
		r.meter.killing()
		if err := r.receiver.Kill(context.WithoutCancel(ctx)); err != nil {
			cancel(&brokenError{"the receiver did not start again", err})
			return
		}
		r.sender.restarts.Add(1)
		r.meter.restarted()
	}
}

// settle waits until all that was acked has come and no more does, or nothing
// has come for too long.
func (r *running) settle(ctx context.Context) error {
	for began := time.Now(); ; {
		missing, _ := r.ledger.backlog(r.clock.now())
		quiet := min(r.meter.quiet(), time.Since(began))
		if missing == 0 && quiet >= linger || quiet >= r.cfg.Settle {
			return nil
		}
		select {
		case <-time.After(progressEvery / 4):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tick ends the seconds of the meter and tells progress.
func (r *running) tick(ctx context.Context, progress func(Progress)) {
	seconds, shown := time.NewTicker(time.Second), time.NewTicker(progressEvery)
	defer seconds.Stop()
	defer shown.Stop()
	for {
		select {
		case <-seconds.C:
			r.meter.tick(r.ledger.backlog(r.clock.now()))
		case <-shown.C:
			p := r.meter.progress()
			p.Elapsed = r.clock.now()
			p.Left = max(0, r.sender.until-p.Elapsed)
			p.Backlog, p.Lag = r.ledger.backlog(p.Elapsed)
			progress(p)
		case <-ctx.Done():
			r.meter.tick(r.ledger.backlog(r.clock.now()))
			return
		}
	}
}

// usage is processor time in seconds.
type usage struct{ generator, receiver float64 }

func (r *running) used() usage {
	var u usage
	var self unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) == nil {
		u.generator = time.Duration(self.Utime.Nano() + self.Stime.Nano()).Seconds()
	}
	if r.receiver.Processor != nil {
		u.receiver = r.receiver.Processor()
	}
	return u
}

// result makes the Result; cut says why the campaign was cut short, if it was.
func (r *running) result(before usage, cut string) *Result {
	res := r.meter.result()
	r.ledger.tally(res)
	now := r.used()
	res.GeneratorCPU, res.ReceiverCPU = now.generator-before.generator, now.receiver-before.receiver
	res.Machine, res.Subscription = machine.This(), r.receiver.Subscription.Name()
	res.Seed, res.Recipients, res.Rate = r.cfg.Seed, r.cfg.Recipients, r.cfg.Shape.Rate
	res.KillEvery = r.cfg.KillEvery.Seconds()
	res.Began, res.Seconds = r.clock.began.UTC(), r.clock.now().Seconds()
	res.Webhooks = int64(r.sender.plan.webhooks)
	res.Unacked = res.Webhooks - res.Acked
	if r.cfg.Shape.at(r.cfg.Recipients-1) > r.cfg.Shape.BurstAt+r.cfg.Shape.BurstLength {
		res.Burst = recovery(r.cfg.Shape, res.Series)
	}
	if res.Verdict = judge(res, cut); r.doubt != "" {
		res.Verdict.Warnings = append(res.Verdict.Warnings, r.doubt)
	}
	return res
}
