package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"spillway/dispatch/store"
	"spillway/wal"
)

// lane drains one lane of the log in one session.
type lane struct {
	dispatcher *Dispatcher
	id         wal.Lane
	source     store.Source
	logger     *slog.Logger
	fail       context.CancelCauseFunc

	workers    []*worker // by partition
	lead, late *drainer

	// failedLooks counts the looks at the cursors that failed in a row, missing
	// the partitions that did not answer the last one; both the watch's own.
	failedLooks, missing int

	// rewound is what was found to be lost, until it is applied again.
	rewound *rewound

	mu     sync.Mutex
	gapEnd uint64 // records below it that are gone were counted
}

func newLane(d *Dispatcher, id wal.Lane, node string, fail context.CancelCauseFunc) *lane {
	l := &lane{
		dispatcher: d,
		id:         id,
		source:     store.Source{Node: node, Lane: id.String()},
		logger:     d.logger.With("lane", id.String()),
		fail:       fail,
	}
	l.rewound = newRewound(l.logger, d.metrics, id)
	for p := range d.store.Partitions() {
		l.workers = append(l.workers, newWorker(l, p, d.cfg.QueueSteps))
	}
	l.lead, l.late = newDrainer(l, false), newDrainer(l, true)
	return l
}

// run reads the cursors, then drains until ctx ends.
func (l *lane) run(ctx context.Context) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, w := range l.workers {
		running.Go(func() { w.run(ctx) })
	}
	errs := make(chan error, 2)
	for _, r := range []*drainer{l.lead, l.late} {
		running.Go(func() { errs <- r.run(ctx) })
	}
	l.watch(ctx, errs)
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// open gives each worker its place by the cursors in the store, which it waits
// for, and seats them: those in front first, so that one that is far behind
// does not hold back the rest. A worker whose partition alone does not answer
// takes its place by itself when it does.
func (l *lane) open(ctx context.Context) error {
	cursors, away, err := l.cursors(ctx)
	if err != nil {
		return err
	}
	var inOrder []*worker
	for p, w := range l.workers {
		if away[p] != nil {
			w.setPlace(store.Cursor{}, l.released()+1)
			w.failed.Store(true)
			w.lost.Store(true)
			continue
		}
		if err := w.settle(l.released(), cursors[p], 0); err != nil {
			return err
		}
		inOrder = append(inOrder, w)
	}
	slices.SortFunc(inOrder, func(a, b *worker) int { return cmp.Compare(b.next, a.next) })
	for _, w := range inOrder {
		l.seat(w)
	}
	return nil
}

// released is the last record that the store is known to have had all effects of,
// by what the log was told before this session.
func (l *lane) released() uint64 {
	released := l.dispatcher.log.Released(l.id)
	if released < l.extent().first {
		return 0 // by this store, under this identity
	}
	return released
}

// cursors reads all cursors, as often as it takes until one partition answers at
// least; away has the errors of those that do not.
func (l *lane) cursors(ctx context.Context) (cursors []store.Cursor, away map[int]error, err error) {
	for attempt := 0; ; attempt++ {
		awaited := l.dispatcher.recovery.awaited()
		cursors, away, err = l.readCursors(ctx)
		switch {
		case err == nil:
			if attempt > 0 {
				l.dispatcher.recovery.announce()
			}
			return cursors, away, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		l.note(ctx, nil, err, attempt)
		l.measureLag(ctx, l.dispatcher.log.Released(l.id)+1)
		sleepUntil(ctx, retry.Wait(attempt, rand.Float64()), awaited)
	}
}

// readCursors reads all cursors once. Where some partitions answer it is no
// error that others do not.
func (l *lane) readCursors(ctx context.Context) (cursors []store.Cursor, away map[int]error, err error) {
	within, cancel := context.WithTimeout(ctx, l.dispatcher.cfg.ApplyTimeout)
	defer cancel()
	cursors, err = l.dispatcher.store.Cursors(within, l.source)
	var partial *store.PartitionsError
	if errors.As(err, &partial) {
		return cursors, partial.Missing, nil
	}
	return cursors, nil, err
}

// near is how far behind the lead a worker may be for the lead to go back and
// take it in.
func (l *lane) near() uint64 { return uint64(4 * l.dispatcher.cfg.BatchRecords) }

// seat makes a worker a member of the lead where it is near, else of the late
// drainer.
func (l *lane) seat(w *worker) {
	_, next := w.place()
	if l.lead.count.Load() == 0 || next+l.near() >= l.lead.next.Load() {
		l.lead.join(w, next)
		return
	}
	l.late.join(w, next)
}

func (l *lane) extent() extent {
	return extent{first: l.dispatcher.log.First(l.id), head: l.dispatcher.log.Head(l.id)}
}

// refillFrom is where an empty store begins: with the first record that was
// never released or is young enough.
func (l *lane) refillFrom() (uint64, error) {
	log := l.dispatcher.log
	young, err := log.Since(l.id, time.Now().Add(-l.dispatcher.cfg.Refill))
	if err != nil {
		return 0, fmt.Errorf("find where to refill from: %w", err)
	}
	return max(min(young, log.Released(l.id)+1), log.First(l.id)), nil
}

// countGap counts records from seq to before first that are gone from the log
// though the store lacks them, each once.
func (l *lane) countGap(seq, first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = max(seq, l.gapEnd)
	if seq >= first {
		return
	}
	l.gapEnd = first
	l.dispatcher.metrics.gapRecords.WithLabelValues(l.id.String()).Add(float64(first - seq))
	l.logger.Error("records are gone from the log that the store has not seen: their events are lost", "from", seq, "before", first)
}

// note counts a failed call to the store and logs it: the first, and each time the
// tries have doubled.
func (l *lane) note(ctx context.Context, w *worker, err error, attempt int) {
	if ctx.Err() != nil {
		return
	}
	l.dispatcher.metrics.retries.WithLabelValues(l.id.String()).Inc()
	if w == nil { // no cursor could be read
		l.dispatcher.metrics.held.WithLabelValues(l.id.String()).Set(float64(len(l.workers)))
	}
	if bits.OnesCount(uint(attempt+1)) != 1 {
		return
	}
	logger := l.logger
	if w != nil {
		logger = logger.With("partition", w.partition)
	}
	logger.Warn("the store does not answer as it should, trying again", "tries", attempt+1, "error", err)
}

// watch looks at all cursors in each interval: it releases what is durable,
// notices a store that went back while nothing was applied, and measures lag.
func (l *lane) watch(ctx context.Context, failed chan error) {
	ticker := time.NewTicker(l.dispatcher.cfg.WatchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-failed:
			failed <- err
			return
		case <-ticker.C:
			l.look(ctx)
		}
	}
}

func (l *lane) look(ctx context.Context) {
	held := make([]store.Cursor, len(l.workers))
	next := uint64(1<<64 - 1)
	for p, w := range l.workers {
		held[p], _ = w.place()
		next = min(next, w.pending())
	}
	l.measureLag(ctx, next)
	cursors, away, err := l.readCursors(ctx)
	if err != nil {
		l.note(ctx, nil, err, l.failedLooks)
		l.failedLooks++
		return
	}
	l.countHeld(away)
	if l.failedLooks > 0 || len(away) < l.missing {
		l.logger.Info("the store answers again", "partitions", len(l.workers)-len(away))
		l.dispatcher.recovery.announce()
	}
	l.failedLooks, l.missing = 0, len(away)
	through := uint64(1<<64 - 1)
	for p, w := range l.workers {
		if away[p] != nil {
			continue
		}
		through = min(through, held[p].Seq, cursors[p].Seq)
		if cursors[p].Seq < held[p].Seq || cursors[p].Seq == held[p].Seq && cursors[p] != held[p] {
			select {
			case w.looks <- look{held: held[p], stored: cursors[p]}:
			default:
			}
		}
	}
	if len(away) > 0 {
		return // how far those are durable is not known
	}
	l.dispatcher.durable[l.id].Store(through)
	l.dispatcher.log.Release(l.id, through)
}

// countHeld counts the partitions that the store does not serve.
func (l *lane) countHeld(away map[int]error) {
	held := 0
	for p, w := range l.workers {
		if away[p] != nil || w.failed.Load() {
			held++
		}
	}
	l.dispatcher.metrics.held.WithLabelValues(l.id.String()).Set(float64(held))
}

// measureLag sets the lag: the age of the oldest record not applied everywhere,
// 0 where there is none.
func (l *lane) measureLag(ctx context.Context, next uint64) {
	log := l.dispatcher.log
	lag := time.Duration(0)
	if next = max(next, log.First(l.id)); next <= log.Head(l.id) {
		reader := log.Reader(l.id, next)
		defer reader.Close()
		records, err := reader.Next(ctx, 1, 1)
		if err != nil {
			return
		}
		lag = max(0, time.Since(records[0].Received))
	}
	l.dispatcher.metrics.lag.WithLabelValues(l.id.String()).Set(lag.Seconds())
}
