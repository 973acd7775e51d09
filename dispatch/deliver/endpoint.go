package deliver

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
	"spillway/dispatch/stream"
)

// Sender makes one request to an endpoint: a post.Sender, or a test's.
type Sender interface {
	// Send posts a body under an id, and says what came of it.
	Send(ctx context.Context, id string, body []byte) post.Result
	// Close ends its connections; no request is under way.
	Close()
}

// endpoint is an Endpoint at work: what all its shares on this receiver have in
// common.
type endpoint struct {
	cfg     Endpoint
	sender  Sender
	filter  *stream.EventFilter
	limit   *rate.Limiter // nil for none
	breaker *post.Breaker
	metrics endpointMetrics

	// jobs are taken by workers, which end when ctx does.
	jobs    chan *job
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	// paused is what the store says; heldUntil what the endpoint asked for, in Unix
	// nanoseconds.
	paused    atomic.Bool
	heldUntil atomic.Int64
	// dead is how many dead deliveries there are, when they were last counted.
	dead atomic.Int64
}

// job is one request to make.
type job struct {
	entry  store.Entry
	from   *share
	index  int32 // of a parked one, none of one in the window
	number int64 // of one in the window
	result post.Result
}

func (d *Deliverer) newEndpoint(cfg Endpoint) (*endpoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sender, err := d.cfg.Dial(cfg)
	if err != nil {
		return nil, err
	}
	e := &endpoint{
		cfg: cfg, sender: sender, filter: stream.NewEventFilter(cfg.Events, cfg.PhoneNumberIDs, cfg.WABAIDs),
		breaker: post.NewBreaker(), metrics: d.metrics.of(cfg.Name), jobs: make(chan *job),
	}
	if cfg.Rate > 0 {
		e.limit = rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate/10)))
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for range cfg.Concurrency {
		e.workers.Go(e.work)
	}
	return e, nil
}

func (e *endpoint) same(cfg Endpoint) bool { return reflect.DeepEqual(e.cfg, cfg) }

// close ends the workers and the connections; no share may be left.
func (e *endpoint) close() {
	e.cancel()
	e.workers.Wait()
	e.sender.Close()
}

// work makes requests.
func (e *endpoint) work() {
	for {
		select {
		case <-e.ctx.Done():
			return
		case j := <-e.jobs:
			j.result = e.send(j)
			j.from.results <- j
		}
	}
}

// send makes one request, or none: then the outcome is Stopped.
func (e *endpoint) send(j *job) post.Result {
	stopped := post.Result{Outcome: post.Stopped}
	if e.limit != nil && e.limit.Wait(j.from.sending) != nil {
		return stopped
	}
	if e.isBlocked(time.Now()) || !j.from.mayDeliver() {
		return stopped
	}
	done, err := e.breaker.Allow()
	if err != nil {
		return stopped
	}
	result := e.sender.Send(j.from.sending, j.entry.UID.String(), stream.AppendEvent(nil, j.from.lease.Partition, &j.entry))
	done(result.Outcome)
	if result.Outcome == post.Stopped {
		return result
	}
	e.metrics.sent(result)
	if result.RetryAfter > 0 {
		e.hold(time.Now().Add(result.RetryAfter))
	}
	return result
}

// hold lets the endpoint alone until then, or longer where it was to be.
func (e *endpoint) hold(until time.Time) {
	for {
		held := e.heldUntil.Load()
		if held >= until.UnixNano() || e.heldUntil.CompareAndSwap(held, until.UnixNano()) {
			return
		}
	}
}

// isBlocked reports whether nothing is to be sent now. Where the breaker is half
// open one may be.
func (e *endpoint) isBlocked(now time.Time) bool {
	return e.paused.Load() || now.UnixNano() < e.heldUntil.Load() || now.Before(e.breaker.ReopensAt()) || e.breaker.Probing()
}

// unblocks is when sending may be tried again; while it is paused, or one is tried
// alone, a little from now.
func (e *endpoint) unblocks(now time.Time) time.Time {
	at := now.Add(shortLook)
	if e.paused.Load() {
		at = now.Add(pausedLook)
	}
	for _, until := range []time.Time{time.Unix(0, e.heldUntil.Load()), e.breaker.ReopensAt()} {
		if until.After(at) {
			at = until
		}
	}
	return at
}

// How soon an endpoint is looked at again that is paused, or is tried by one alone.
const (
	pausedLook = time.Second
	shortLook  = 50 * time.Millisecond
)
