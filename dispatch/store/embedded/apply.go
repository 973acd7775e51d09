package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// planned is an event on its way into the stream.
type planned struct {
	event *event.Event
	mark  string
	size  int
}

// Apply applies the batch if the stored cursor equals From, or its mode does not
// ask, as one Pebble batch, and else changes nothing. It keeps no part of the
// batch.
func (s *Store) Apply(ctx context.Context, b *store.Batch) (_ store.Result, err error) {
	done, err := s.begin(ctx, opApply)
	if err != nil {
		return store.Result{}, err
	}
	defer func() { done(err) }()
	if err := b.Validate(len(s.partitions)); err != nil {
		return store.Result{}, err
	}
	p := s.partitions[b.Partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	rest, err := s.work(ctx)
	if err != nil {
		return store.Result{}, err
	}
	defer rest()
	if b.Mode == store.Advance {
		if stored := p.cursor(b.Source); stored != b.From {
			return store.Result{Stored: stored}, nil
		}
	}
	p.begin()
	if b.Mode == store.Forced {
		return s.applyForced(p, b)
	}
	return s.apply(p, b)
}

// begin forgets the batch before.
func (p *partition) begin() {
	clear(p.seen.added)
	p.book.Clear()
	clear(p.plan)
	p.plan = p.plan[:0]
}

// add plans an event for the stream.
func (p *partition) add(e *event.Event, mark string) {
	p.plan = append(p.plan, planned{event: e, mark: mark, size: entrySize(e, mark)})
}

// applyForced appends the events and nothing else. Holds p.mu.
func (s *Store) applyForced(p *partition, b *store.Batch) (store.Result, error) {
	for i := range b.Events {
		p.add(&b.Events[i], marked(&b.Events[i], replayedMark))
	}
	if err := s.commit(p, b); err != nil {
		return store.Result{}, err
	}
	return store.Result{Applied: true, Outcomes: make([]store.Outcome, len(b.Events))}, nil // all of them fresh
}

// apply decides what takes effect, and commits it. Holds p.mu.
func (s *Store) apply(p *partition, b *store.Batch) (store.Result, error) {
	result := store.Result{Applied: true, Outcomes: make([]store.Outcome, len(b.Events))}

	writes, err := s.judge(p, b.Events, result.Outcomes)
	if err != nil {
		return store.Result{}, err
	}
	if writes {
		s.contacts.Lock()
		defer s.contacts.Unlock()
	}
	for i := range b.Events {
		e := &b.Events[i]
		if result.Outcomes[i] == store.Duplicate {
			if err := p.book.Unclaim(e); err != nil {
				return store.Result{}, err
			}
			continue
		}
		if e.IsWriter() {
			if err := s.applyContact(p, e, &result); err != nil {
				return store.Result{}, err
			}
		}
		mark := ""
		if result.Outcomes[i] == store.Stale {
			mark = marked(e, staleMark)
		}
		p.add(e, mark)
	}
	if err := s.commit(p, b); err != nil {
		return store.Result{}, err
	}
	if b.Mode == store.Advance {
		result.Stored = b.To
		p.setCursor(b.Source, b.To)
	}
	return result, nil
}

// judge says what becomes of each event, and whether contacts may change.
func (s *Store) judge(p *partition, events []event.Event, outcomes []store.Outcome) (writes bool, err error) {
	defer func() { err = errors.Join(err, p.seen.stored.close()) }()
	for i := range events {
		e := &events[i]
		if outcomes[i], err = p.seen.judge(e, s.cfg.Window); err != nil {
			return false, err
		}
		writes = writes || e.IsWriter() && (outcomes[i] != store.Duplicate || e.Customer.Born)
	}
	return writes, nil
}

// applyContact plans the contact event of a message, where there is one.
func (s *Store) applyContact(p *partition, e *event.Event, result *store.Result) error {
	c, err := p.book.Profile(e)
	if err != nil || c == nil {
		return err
	}
	if c.Type == event.ContactNew {
		result.ContactsNew++
	} else {
		result.ContactsUpdated++
	}
	p.add(c, "")
	return nil
}

// commit writes what was planned. After an error nothing of it was written.
func (s *Store) commit(p *partition, b *store.Batch) error {
	var size int64
	for i := range p.plan {
		size += int64(p.plan[i].size) + eventKeyLength
	}
	batch := s.db.NewBatchWithSize(int(size) + len(p.plan)*48 + len(p.seen.added)*32 + 256)
	defer func() { _ = batch.Close() }()
	if err := p.seen.write(batch); err != nil {
		return err
	}
	if err := writeBook(p.book, batch); err != nil {
		return err
	}
	if b.Mode == store.Advance {
		if err := batch.Set(cursorKey(p.index, b.Source), cursorValue(b.To), nil); err != nil {
			return fmt.Errorf("write cursor: %w", err)
		}
	}
	if len(p.plan) == 0 {
		return s.commitBatch(batch)
	}
	g, err := s.places.take(p.index, int64(len(p.plan)), size)
	if err != nil {
		return err
	}
	err = s.commitGrant(p, g, batch)
	if s.places.settle(g, err == nil) {
		s.kickUpkeep()
	}
	return err
}

// commitGrant writes the planned events under the ids granted.
func (s *Store) commitGrant(p *partition, g grant, batch *pebble.Batch) error {
	fresh, err := p.writeEvents(g, batch, s.followers.Load() > 0)
	if err != nil {
		return err
	}
	if err := batch.Set(blockKey(g.block, p.index), blockValue(g.tally), nil); err != nil {
		return fmt.Errorf("write block counts: %w", err)
	}
	if err := s.commitBatch(batch); err != nil {
		return err
	}
	if fresh == nil {
		p.tail.reset(g.last)
	} else {
		p.tail.add(fresh)
	}
	return nil
}

// writeEvents writes the planned events. With keep it also returns them.
func (p *partition) writeEvents(g grant, batch *pebble.Batch, keep bool) ([]store.Entry, error) {
	var fresh []store.Entry
	var memory arena
	if keep {
		fresh = make([]store.Entry, 0, len(p.plan))
		memory = newArena(int(g.bytes))
	}
	for i := range p.plan {
		e, id := p.plan[i].event, g.first+uint64(i)
		op := batch.SetDeferred(eventKeyLength, p.plan[i].size)
		putEventKey(op.Key, g.block, p.index, id)
		payload := putEntry(op.Value, e, p.plan[i].mark)
		if keep {
			fresh = append(fresh, store.Entry{Place: placeOf(id), UID: e.UID, Type: e.Type, Payload: memory.copy(payload)})
		}
		if err := op.Finish(); err != nil {
			return nil, fmt.Errorf("write event: %w", err)
		}
	}
	return fresh, nil
}

// commitBatch commits without waiting for a sync.
func (s *Store) commitBatch(batch *pebble.Batch) error {
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	s.commits.Add(1)
	return nil
}

// Cursors gives the cursors of a source by partition, once they are durable.
func (s *Store) Cursors(ctx context.Context, source store.Source) (_ []store.Cursor, err error) {
	done, err := s.begin(ctx, opCursors)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	cursors := make([]store.Cursor, len(s.partitions))
	for i, p := range s.partitions {
		cursors[i] = p.cursor(source)
	}
	// A cursor is set after its batch was counted: what was read is in commits.
	if commits := s.commits.Load(); commits > s.synced.Load() {
		if err := s.sync(); err != nil {
			return nil, err
		}
		raise(&s.synced, commits)
	}
	return cursors, nil
}

// raise sets v to at least n.
func raise(v interface {
	Load() uint64
	CompareAndSwap(old, new uint64) bool
}, n uint64) {
	for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// sync makes all that was committed durable: an empty record, synced, stands
// behind it in Pebble's log.
func (s *Store) sync() error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.LogData(nil, nil); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	return s.commitDurably(batch)
}

// setDurably sets one key, synced.
func (s *Store) setDurably(key, value []byte) error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.Set(key, value, nil); err != nil {
		return fmt.Errorf("write store: %w", err)
	}
	return s.commitDurably(batch)
}

// commitDurably commits and waits for the sync. It does so in two steps, for the
// error of SyncWait is the real one: a plain Commit reports none.
func (s *Store) commitDurably(batch *pebble.Batch) error {
	if err := s.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	if err := batch.SyncWait(); err != nil {
		err = fmt.Errorf("sync store: %w", err)
		s.fail(err)
		return err
	}
	return nil
}
