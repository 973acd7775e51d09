// Package dispatch drains the log into a store.
//
//	           ┌ lead ─┐ decode, partition   ┌ worker 00 ┐ Claim, Apply
//	wal lane ──┤       ├────────────────────▶│ …         ├─────────────▶ store
//	           └ late ─┘                     └ worker NN ┘
//
// Each lane is drained on its own. Its lead drainer reads records in order,
// decodes each once, and hands every partition's events to the worker of that
// partition. A worker applies its steps one after the other, so order holds
// within a partition, and a partition that is away holds back only itself: the
// lead goes on without it, and when its store answers again the late drainer
// reads the log once more, for those that fell behind alone, until they are near
// enough for the lead to take them back.
//
// The store tells how far each partition is. A worker treats every answer that
// is not the expected one by judge, which knows all that can have happened:
// a lost reply, a store that came back older, an empty store, records that are
// gone, another log. Nothing is confirmed here, nothing is kept here: after a
// crash the cursors are read again.
//
// Promise: every record of the log takes effect in the store exactly once, in
// order for each partition, as long as the log still holds it.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
	"spillway/wal"
)

// Config is what dispatching can be told.
type Config struct {
	// Dir is the folder for the marks of records that ended the process.
	Dir string
	// BatchRecords and BatchBytes bound what a drainer decodes at a time; a
	// larger record makes a batch of its own.
	BatchRecords, BatchBytes int
	// QueueSteps is how many steps may wait for a worker.
	QueueSteps int
	// Refill is how far back an empty store is filled, by receive time. What was
	// never released is always applied, however old.
	Refill time.Duration
	// ApplyTimeout bounds one call to the store.
	ApplyTimeout time.Duration
	// WatchInterval is the time between two looks at all cursors.
	WatchInterval time.Duration
	// Tracer is told of every call that applies events; nil for none.
	Tracer Tracer
}

// Tracer is what traces events. It must not wait for anything.
type Tracer interface {
	// Called is told of a call to the store. What the Call refers to is read only,
	// and only until Called returns.
	Called(Call)
}

// Call is one call to the store with events, to claim their contacts and apply
// them, and what came of it. The same events are called with again where it
// failed.
type Call struct {
	Batch *store.Batch
	// Seqs has the record of each event.
	Seqs []uint64
	// Read is when their records had been read from the log.
	Read time.Time
	// Began and Ended are those of this call, Attempt how many failed before it.
	Began, Ended time.Time
	Attempt      int
	Result       store.Result
	Err          error
}

// DefaultConfig has every default; Dir must be set.
func DefaultConfig() Config {
	return Config{
		BatchRecords:  2048,
		BatchBytes:    2 << 20,
		QueueSteps:    4,
		Refill:        24 * time.Hour,
		ApplyTimeout:  10 * time.Second,
		WatchInterval: time.Second,
	}
}

// Validate names every value that is out of bounds.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Dir != "", "dispatch folder: must be set")
	check(c.BatchRecords > 0, "batch records %d: must be above 0", c.BatchRecords)
	check(c.BatchBytes > 0, "batch bytes %d: must be above 0", c.BatchBytes)
	check(c.QueueSteps > 0, "queue steps %d: must be above 0", c.QueueSteps)
	check(c.Refill >= 0, "refill %s: must not be negative", c.Refill)
	check(c.ApplyTimeout > 0, "apply timeout %s: must be above 0", c.ApplyTimeout)
	check(c.WatchInterval > 0, "watch interval %s: must be above 0", c.WatchInterval)
	return errors.Join(errs...)
}

// Dispatcher drains one log into one store.
type Dispatcher struct {
	cfg      Config
	log      *wal.Log
	store    store.Store
	logger   *slog.Logger
	metrics  *metrics
	suspects *suspects
	turns    *turns
	recovery *recovery
	// durable is by lane the last record up to which every partition's cursor was
	// found durable, since the session began.
	durable [len(wal.Lanes)]atomic.Uint64
}

// Behind is by lane how many records of the log are not known to be durable in
// the store with all their events. It is never too low, and up to a second late.
func (d *Dispatcher) Behind() (behind [len(wal.Lanes)]uint64) {
	for _, lane := range wal.Lanes {
		// durable first: it never passes a head that is read later.
		done := max(d.durable[lane].Load(), d.log.First(lane)-1)
		behind[lane] = d.log.Head(lane) - min(done, d.log.Head(lane))
	}
	return behind
}

// New makes a Dispatcher; Run starts it.
func New(cfg Config, log *wal.Log, st store.Store, logger *slog.Logger, reg prometheus.Registerer) (*Dispatcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	marks, err := openSuspects(filepath.Join(cfg.Dir, "suspects"))
	if err != nil {
		return nil, err
	}
	return &Dispatcher{
		cfg:      cfg,
		log:      log,
		store:    st,
		logger:   logger,
		metrics:  newMetrics(reg),
		suspects: marks,
		turns:    newTurns(),
		recovery: newRecovery(),
	}, nil
}

// errForeign ends a session: a cursor in the store is not of this log.
var errForeign = errors.New("the store's cursor is not of this log")

// Run drains until ctx ends, which is no error, or until the log cannot be read
// or written any more. It may be called once.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.suspects.close()
	for {
		err := d.session(ctx)
		if !errors.Is(err, errForeign) {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		node, err := d.log.Renew()
		if err != nil {
			return fmt.Errorf("renew identity of log: %w", err)
		}
		d.metrics.renewals.Inc()
		d.logger.Error("the store has seen another state of this log: all records kept are applied again under a new identity", "node", node)
	}
}

// session drains both lanes under one identity of the log.
func (d *Dispatcher) session(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	node := d.log.Node()
	for _, id := range wal.Lanes {
		d.durable[id].Store(0)
	}
	var running sync.WaitGroup
	for _, id := range wal.Lanes {
		l := newLane(d, id, node, cancel)
		running.Go(func() {
			if err := l.run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}
