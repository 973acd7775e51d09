package dispatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/wal"
)

// step is a partition's share of a batch: its events among the records from
// start to to. seqs has the record of each event.
type step struct {
	start  uint64
	to     store.Cursor
	events []event.Event
	seqs   []uint64
	// read is when the drainer had read the records.
	read time.Time
	// jump: the records between the worker's and start are gone from the log.
	jump bool
}

// stuckAfter is how long a call to the store may take before the drainers stop
// waiting for the worker and go on without it.
const stuckAfter = time.Second

// retry is how a store that fails is tried again.
var retry = backoff.Policy{First: 20 * time.Millisecond, Most: 5 * time.Second}

// worker applies the steps of one partition of a lane, in order. It is fed by
// one drainer at a time. When it has lost its place, because the store went
// back, it says so in lost, drops what it is fed until that drainer lets go of
// it, and then takes a place again.
type worker struct {
	lane      *lane
	partition int
	queue     chan step
	// released tells that the drainer has let go, after its last step.
	released chan struct{}
	// looks has cursors that the watch found and this worker must judge.
	looks chan look

	mu     sync.Mutex
	cursor store.Cursor // what the store has confirmed
	next   uint64       // the first record not yet applied
	// read is the last record that the drainer has read for it, sent the last one
	// of a step: from there to read nothing was for this partition.
	read, sent uint64

	lost      atomic.Bool
	failed    atomic.Bool
	busySince atomic.Int64 // Unix nanoseconds, 0 while idle
}

// look is a cursor read from the store, and what the worker held before that.
type look struct{ held, stored store.Cursor }

func newWorker(l *lane, partition, queue int) *worker {
	return &worker{
		lane:      l,
		partition: partition,
		queue:     make(chan step, queue),
		released:  make(chan struct{}, 1),
		looks:     make(chan look, 1),
	}
}

// place gives cursor and next together.
func (w *worker) place() (store.Cursor, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cursor, w.next
}

func (w *worker) setPlace(cursor store.Cursor, next uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cursor, w.next = cursor, next
}

// fed notes how far the drainer has read for it, and sent steps.
func (w *worker) fed(read, sent uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read, w.sent = read, sent
}

// pending is the first record whose events, if it has any for this partition,
// are not applied.
func (w *worker) pending() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next <= w.sent {
		return w.next
	}
	return max(w.next, w.read+1)
}

// away reports whether waiting for this worker would be waiting for its store.
func (w *worker) away() bool {
	if w.failed.Load() {
		return true
	}
	since := w.busySince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > stuckAfter
}

func (w *worker) run(ctx context.Context) {
	if w.lost.Load() {
		w.find(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-w.queue:
			w.handle(ctx, s)
		case l := <-w.looks:
			w.reconsider(ctx, l)
		case <-w.released:
			w.handleQueued(ctx)
			if ctx.Err() != nil {
				return
			}
			w.lost.Store(false)
			w.lane.seat(w)
		}
	}
}

// find takes a place once the partition answers, which did not when the lane was
// opened.
func (w *worker) find(ctx context.Context) {
	// No store has this cursor: all it does is to tell the one that it has.
	probe := store.Cursor{Seq: 1<<64 - 1, Hash: 1<<64 - 1}
	d := w.lane.dispatcher
	for attempt := 0; ctx.Err() == nil; attempt++ {
		awaited := d.recovery.awaited()
		within, cancel := context.WithTimeout(ctx, d.cfg.ApplyTimeout)
		result, err := d.store.Apply(within, &store.Batch{
			Source: w.lane.source, Partition: w.partition, From: probe, To: probe,
		})
		cancel()
		if err == nil {
			err = w.settle(w.lane.released(), result.Stored, 0)
		}
		if err == nil {
			w.succeeded()
			w.lost.Store(false)
			w.lane.seat(w)
			return
		}
		w.lane.note(ctx, w, err, attempt)
		sleepUntil(ctx, retry.Wait(attempt, rand.Float64()), awaited)
	}
}

// handleQueued handles the steps that were queued before the drainer let go.
func (w *worker) handleQueued(ctx context.Context) {
	for {
		select {
		case s := <-w.queue:
			w.handle(ctx, s)
		default:
			return
		}
	}
}

// handle applies a step, as often as it takes, unless it is covered already or
// starts beyond the worker's place.
func (w *worker) handle(ctx context.Context, s step) {
	for attempt := 0; ctx.Err() == nil; {
		cursor, next := w.place()
		if s.jump && s.start > next {
			w.setPlace(cursor, s.start)
			next = s.start
		}
		if s.start > next {
			w.lost.Store(true)
			return
		}
		if s.to.Seq < next {
			return
		}
		awaited := w.lane.dispatcher.recovery.awaited()
		err := w.apply(ctx, cursor, s, next, attempt)
		if err == nil {
			w.succeeded()
			continue // it is covered now, or the place has changed
		}
		w.lane.note(ctx, w, err, attempt)
		w.failed.Store(true)
		sleepUntil(ctx, retry.Wait(attempt, rand.Float64()), awaited)
		attempt++
	}
}

// succeeded notes a call to the store that did, and tells others where the one
// before it failed.
func (w *worker) succeeded() {
	if w.failed.Swap(false) {
		w.lane.dispatcher.recovery.announce()
	}
}

// apply claims the contacts of a step's events and applies them; attempt counts
// from 0.
func (w *worker) apply(ctx context.Context, cursor store.Cursor, s step, next uint64, attempt int) error {
	d := w.lane.dispatcher
	began := time.Now()
	w.busySince.Store(began.UnixNano())
	defer w.busySince.Store(0)
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ApplyTimeout)
	defer cancel()

	events := s.events
	for i := 0; i < len(s.seqs) && s.seqs[i] < next; i++ {
		events = s.events[i+1:]
	}
	seqs := s.seqs[len(s.seqs)-len(events):]
	batch := &store.Batch{Source: w.lane.source, Partition: w.partition, From: cursor, To: s.to, Events: events}
	result, err := claimAndApply(ctx, d.store, batch)
	if d.cfg.Tracer != nil && len(events) > 0 {
		d.cfg.Tracer.Called(Call{
			Batch: batch, Seqs: seqs, Read: s.read, Began: began, Ended: time.Now(),
			Attempt: attempt, Result: result, Err: err,
		})
	}
	if differs := (*store.CursorError)(nil); errors.As(err, &differs) {
		return w.settle(cursor.Seq, differs.Stored, s.to.Seq)
	}
	if err != nil {
		return err
	}
	if !result.Applied {
		return w.settle(cursor.Seq, result.Stored, s.to.Seq)
	}
	w.setPlace(s.to, s.to.Seq+1)
	d.metrics.applied(w.lane.id, events, result)
	w.lane.rewound.applied(w.partition, seqs, s.to.Seq)
	return nil
}

// claimAndApply claims the contacts of a batch's events and applies it.
func claimAndApply(ctx context.Context, st store.Store, batch *store.Batch) (store.Result, error) {
	if err := claimContacts(ctx, st, batch); err != nil {
		return store.Result{}, err
	}
	return st.Apply(ctx, batch)
}

// claimContacts gives each event of a batch the contact of its customer. What is
// forced leaves contacts alone, and only looks them up.
func claimContacts(ctx context.Context, st store.Store, batch *store.Batch) error {
	events, mode := batch.Events, batch.Mode
	var claims []store.Claim
	for i := range events {
		if c := events[i].Customer; c != nil {
			claim := store.Claim{Customer: c, Batch: batch}
			if c.Writes && mode != store.Forced {
				claim.Message = events[i].Identity
			}
			claims = append(claims, claim)
		}
	}
	if len(claims) == 0 {
		return nil
	}
	answers, err := st.Claim(ctx, claims)
	if err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		if e.Customer == nil {
			continue
		}
		e.SetContact(answers[0].Contact)
		e.Customer.Born = e.Customer.Writes && mode != store.Forced && answers[0].Birth == e.Identity
		answers = answers[1:]
	}
	return nil
}

// settle takes the place that a stored cursor tells, where it is not the one
// that was expected. The store has confirmed record held; record to is what it
// was about to get.
func (w *worker) settle(held uint64, stored store.Cursor, to uint64) error {
	l, d := w.lane, w.lane.dispatcher
	log := l.extent()
	v, err := judge(stored, to, log, func(seq uint64) (uint64, error) {
		if seq == 0 {
			return 0, nil
		}
		return d.log.Hash(l.id, seq)
	})
	switch {
	case errors.Is(err, wal.ErrTrimmed): // meanwhile
		v, log = gap, l.extent()
	case err != nil:
		return err
	}
	if stored.Seq < held && v != foreign {
		l.rewound.found(w.partition, held, stored.Seq)
	}
	switch v {
	case covered, behind:
		w.setPlace(stored, stored.Seq+1)
	case empty:
		next, err := l.refillFrom()
		if err != nil {
			return err
		}
		w.setPlace(store.Cursor{}, next)
	case gap:
		l.countGap(stored.Seq+1, log.first)
		w.setPlace(stored, log.first)
	case foreign:
		l.fail(errForeign)
		return errForeign
	}
	return nil
}

// reconsider judges a cursor that the watch found to differ from what was held,
// unless the worker has moved since: then the next step finds out.
func (w *worker) reconsider(ctx context.Context, found look) {
	cursor, next := w.place()
	if cursor != found.held {
		return
	}
	if err := w.settle(cursor.Seq, found.stored, cursor.Seq); err != nil {
		w.lane.note(ctx, w, err, 0)
		return
	}
	if _, now := w.place(); now < next {
		w.lost.Store(true)
	}
}

// sleep waits for d or for ctx to end.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
