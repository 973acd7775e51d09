// Package embedded is the store that needs nothing beside the program: a Pebble
// database in a folder of its own, apart from the log's, so that its compactions
// never delay an ack.
//
//	Claim ──▶ contacts ──────────────┐
//	Apply ──▶ cursor = From? ──▶ seen ──▶ contacts ──▶ ids ──▶ one Pebble batch ──▶ Follow, Read
//
// One Apply is one Pebble batch: what was seen, contacts, events and the cursor
// become durable together or not at all. No Apply waits for a sync: what a crash
// takes is a suffix, cursors and effects alike, and is applied again from the
// log. Cursors syncs before it answers, so what it tells may be released.
//
// Applies to one partition take turns; different partitions run side by side,
// but for the moment in which they change contacts, which is one at a time.
//
// Most of its work is Pebble's: looking up what was seen, and merging it. Events
// stand in the order they come, see keys.go, and are hardly ever merged. What did
// not help, with a million events kept and 30,000 new statuses a second: a larger
// lowest level, and values apart from their keys, as Pebble can keep them. No
// compression saves one to three of 40 µs a webhook, and takes 2.3 times the disk.
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

var (
	_ store.Store      = (*Store)(nil)
	_ store.Feed       = (*Store)(nil)
	_ store.Contacts   = (*Store)(nil)
	_ store.Deliveries = (*Store)(nil)
)

var (
	errClosed = errors.New("embedded store is closed")
	errFailed = errors.New("embedded store has failed")
)

// Store is an open embedded store.
type Store struct {
	cfg        Config
	logger     *slog.Logger
	db         *pebble.DB
	lock       *pebble.Lock
	metrics    *metrics
	partitions []*partition
	places     places
	deliveries deliveries

	// contacts is held from reading contacts to committing their change. A
	// partition's mutex is taken before it, never after.
	contacts sync.Mutex
	// trimming is held by whoever deletes events.
	trimming sync.Mutex

	followers atomic.Int64
	commits   atomic.Uint64 // batches committed
	synced    atomic.Uint64 // of these, how many are known to be durable

	// slots bounds how many calls work at once: the rest of the process, and the
	// acks before all, need the processors too.
	slots   chan struct{}
	gate    gate
	closing chan struct{} // closed when Close begins
	kick    chan struct{} // tells upkeep that there is something to trim
	upkept  chan struct{} // closed when upkeep has ended

	failOnce  sync.Once
	fatal     chan struct{} // closed when the store has failed
	closeOnce sync.Once
	closeErr  error
}

// partition is what one partition keeps in memory.
type partition struct {
	index int

	// mu is held by the Apply that runs.
	mu   sync.Mutex
	seen seen
	book *contacts.Book
	plan []planned

	cursorsMu sync.RWMutex
	cursors   map[store.Source]store.Cursor

	tail tail
}

func (p *partition) cursor(source store.Source) store.Cursor {
	p.cursorsMu.RLock()
	defer p.cursorsMu.RUnlock()
	return p.cursors[source]
}

func (p *partition) setCursor(source store.Source, c store.Cursor) {
	p.cursorsMu.Lock()
	defer p.cursorsMu.Unlock()
	p.cursors[source] = c
}

// Partitions is how many there are.
func (s *Store) Partitions() int { return len(s.partitions) }

// PebbleMetrics are the database's own figures, nil once the store is closed. While
// the disk stalls or has failed it may not return.
func (s *Store) PebbleMetrics() *pebble.Metrics {
	if !s.gate.enter() {
		return nil
	}
	defer s.gate.leave()
	return s.db.Metrics()
}

// Close waits for the calls under way, makes all that was applied durable, and
// gives the folder free. After the disk has failed it waits for nothing and
// returns the failure: then the process has to end.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	defer s.metrics.Unregister()
	close(s.closing)
	idle := s.gate.close()
	released := make(chan error, 1)
	go func() {
		<-idle
		<-s.upkept
		released <- s.release()
	}()
	select {
	case err := <-released:
		return err
	case <-s.fatal:
		return errFailed
	}
}

// release gives back what open took.
func (s *Store) release() error {
	if s.hasFailed() {
		return errFailed
	}
	// The ids reserved and not used are given back: all that were used are known, and
	// so are the tokens, which are taken from them.
	s.places.mu.Lock()
	last := max(s.places.last, s.deliveries.tokens.Load())
	s.places.mu.Unlock()
	return errors.Join(s.setDurably(reservedKey(), idValue(last)), s.db.Close(), s.lock.Close())
}

func (s *Store) hasFailed() bool {
	select {
	case <-s.fatal:
		return true
	default:
		return false
	}
}

// fail is told of a disk that failed. It lets OnFatal end the process.
func (s *Store) fail(err error) {
	s.failOnce.Do(func() {
		close(s.fatal)
		s.logger.Error("the store's disk failed: look at it, then start again", "error", err)
		s.cfg.OnFatal(err)
	})
}

// begin admits a call. done ends it, and counts it by op.
func (s *Store) begin(ctx context.Context, op string) (done func(error), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.hasFailed() {
		s.metrics.Failed(op)
		return nil, errFailed
	}
	if !s.gate.enter() {
		return nil, errClosed
	}
	start := time.Now()
	return func(err error) {
		s.gate.leave()
		s.metrics.Observe(op, time.Since(start), err)
	}, nil
}

// work waits for a slot; done must follow where err is nil.
func (s *Store) work(ctx context.Context) (done func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return s.rest, nil
	case <-s.fatal: // whoever has the slot may keep it for ever
		return nil, errFailed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Store) rest() { <-s.slots }

// gate counts the calls under way, so that Close can wait for them.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	idle   chan struct{}
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.idle)
	}
}

// close admits nobody any more; the channel is closed once all have left.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.idle = make(chan struct{})
	if g.inside == 0 {
		close(g.idle)
	}
	return g.idle
}
