package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/meta"
	"spillway/dispatch/store"
	"spillway/wal"
)

// The errors of a replay that a caller may want to tell apart.
var (
	// ErrOld: a record or an event is older than the dedupe window, so that it
	// could not be told from what the store has; only force replays it.
	ErrOld = errors.New("older than the dedupe window")
	// ErrUndispatched: a record is yet to be dispatched for the first time.
	ErrUndispatched = errors.New("not dispatched yet")
	// ErrStillDead: a dead letter's item still cannot be decoded.
	ErrStillDead = errors.New("still cannot be decoded")
)

const (
	// A replay reads and applies this much at a time, so that dispatching, which
	// goes on beside it, never waits for it long.
	replayRecords = 256
	replayBytes   = 1 << 20
	// replayTries is how often a store that fails is tried: for half a minute.
	replayTries = 12
)

// ReplayConfig says what a replay may take for known.
type ReplayConfig struct {
	// Window is how long a redelivery is recognised by the store.
	Window time.Duration
	// ApplyTimeout bounds one call to the store; 0 is that of DefaultConfig.
	ApplyTimeout time.Duration
	// Now is the clock, nil for the system's.
	Now func() time.Time
}

// ReplayRequest names records of a lane.
type ReplayRequest struct {
	Lane wal.Lane
	// From and To are both included; 0 is the first kept, and the last that is
	// dispatched.
	From, To uint64
	// Force appends the events that are older than the window, marked as replayed,
	// where else they are refused.
	Force bool
}

// ReplayProgress counts what came of a replay so far.
type ReplayProgress struct {
	// Seq is the last record done, From and To are what was asked for.
	Seq, From, To uint64
	// Undispatched are the records after To that are left out where the end was not
	// named: they are dispatched for the first time without a replay.
	Undispatched uint64
	// Records counts records, the others events; Replayed are those forced, Dead
	// the items that cannot be decoded, which are dead letters already.
	Records, Fresh, Duplicate, Stale, Replayed, Dead int64
}

// Replayer dispatches records again, beside a Dispatcher or without one, and no
// further than that has come. What the store has stays as it is; what it lost
// takes its effect.
type Replayer struct {
	cfg   ReplayConfig
	log   *wal.Log
	store store.Store
	// retrying is held by a retry: it reads and changes letters of one record,
	// which others of the same record rely on.
	retrying sync.Mutex
}

// NewReplayer makes a Replayer. Both log and store stay the caller's.
func NewReplayer(cfg ReplayConfig, log *wal.Log, st store.Store) (*Replayer, error) {
	if cfg.Window <= 0 {
		return nil, fmt.Errorf("dedupe window %s: must be above 0", cfg.Window)
	}
	if cfg.ApplyTimeout == 0 {
		cfg.ApplyTimeout = DefaultConfig().ApplyTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Replayer{cfg: cfg, log: log, store: st}, nil
}

// Replay dispatches the records again, in order, and tells progress, which may
// be nil, after each step. wal.ErrTrimmed and wal.ErrBeyond where From or To are
// not kept, ErrUndispatched where dispatching has not come to To.
//
// ErrOld where records or events are too old and that is not forced: before
// anything is done where it is told by the receipt of the records, else at the
// first that holds such an event, which was long on its way; the records before
// it are done then, up to Seq, and it and those after it are not. After another
// error the records up to Seq are done as well, and the same request from there
// on is safe.
//
// What is too old is decided by the time at which the replay begins. A store
// remembers events for a day beyond the window at least: no replay takes as long.
func (r *Replayer) Replay(ctx context.Context, q ReplayRequest, progress func(ReplayProgress)) (ReplayProgress, error) {
	p, err := r.extent(ctx, q)
	if err != nil || p.From > p.To {
		return p, err
	}
	limit := r.ageLimit(q.Force)
	if err := r.refuseOld(q, p, limit); err != nil {
		return p, err
	}
	reader := r.log.Reader(q.Lane, p.From)
	defer reader.Close()
	for p.Seq < p.To {
		records, err := reader.Next(ctx, int(min(replayRecords, p.To-p.Seq)), replayBytes)
		if err != nil {
			return p, fmt.Errorf("read %s lane: %w", q.Lane, err)
		}
		before := p.Seq
		err = r.step(ctx, q.Lane, records, limit, &p)
		if progress != nil && p.Seq > before {
			progress(p)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// extent resolves what was asked for. From > To where there is nothing to do.
func (r *Replayer) extent(ctx context.Context, q ReplayRequest) (ReplayProgress, error) {
	p := ReplayProgress{From: q.From, To: q.To}
	done, err := r.dispatched(ctx, q.Lane)
	if err != nil {
		return p, err
	}
	first, head := r.log.First(q.Lane), r.log.Head(q.Lane)
	if p.From == 0 {
		p.From = first
	}
	p.Seq = p.From - 1
	if p.To == 0 {
		p.To = max(done, p.Seq)
		p.Undispatched = max(head, p.To) - p.To
	}
	switch {
	case q.From > 0 && q.To > 0 && q.From > q.To:
		return p, fmt.Errorf("records from %d to %d: from must not be above to", q.From, q.To)
	case q.From > 0 && q.From < first:
		return p, fmt.Errorf("%w: %s record %d, the first kept is %d", wal.ErrTrimmed, q.Lane, q.From, first)
	case q.To > head:
		return p, fmt.Errorf("%w: %s record %d, the last is %d", wal.ErrBeyond, q.Lane, q.To, head)
	case q.To > done:
		return p, fmt.Errorf("%w: %s record %d, dispatching has come to %d and will come to it without a replay", ErrUndispatched, q.Lane, q.To, done)
	}
	return p, nil
}

// dispatched is the last record of a lane up to which the store has, durably,
// seen all. Beyond it a replay would let newer events out before older ones.
func (r *Replayer) dispatched(ctx context.Context, lane wal.Lane) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ApplyTimeout)
	defer cancel()
	cursors, err := r.store.Cursors(ctx, store.Source{Node: r.log.Node(), Lane: lane.String()})
	if err != nil {
		return 0, fmt.Errorf("find how far %s is dispatched: %w", lane, err)
	}
	held := extent{first: r.log.First(lane), head: r.log.Head(lane)} // read after the cursors: none is beyond it
	through := held.head
	for _, c := range cursors {
		switch v, err := judge(c, through, held, func(seq uint64) (uint64, error) { return r.log.Hash(lane, seq) }); {
		case err != nil:
			return 0, fmt.Errorf("find how far %s is dispatched: %w", lane, err)
		case v == foreign: // it says nothing of this log
			return 0, nil
		}
		through = min(through, c.Seq)
	}
	return through, nil
}

// ageLimit is how old what is applied again may be.
type ageLimit struct {
	window time.Duration
	oldest time.Time
	// force applies what is older as replayed; else it is refused.
	force bool
}

func (r *Replayer) ageLimit(force bool) ageLimit {
	return ageLimit{window: r.cfg.Window, oldest: r.cfg.Now().Add(-r.cfg.Window), force: force}
}

// age is the time by which an event is young or old: the store has forgotten it
// once its own time is out of the window, however late it was received.
func (l ageLimit) age(e *event.Event) time.Time {
	at, _ := e.DedupeTime(l.window)
	if e.Received.Before(at) {
		return e.Received
	}
	return at
}

func (l ageLimit) mode(e *event.Event) store.Mode {
	if l.age(e).Before(l.oldest) {
		return store.Forced
	}
	return store.Again
}

// refuse gives ErrOld where an event of a record is too old and not forced.
func (l ageLimit) refuse(lane wal.Lane, seq uint64, events []event.Event) error {
	if l.force {
		return nil
	}
	for i := range events {
		if e := &events[i]; l.mode(e) == store.Forced {
			return fmt.Errorf("%w: %s record %d has an event of %s, more than %s ago, which could come out twice; "+
				"leave that record out, or use force, which marks such events as replayed",
				ErrOld, lane, seq, l.age(e).UTC().Format(time.RFC3339), l.window)
		}
	}
	return nil
}

// refuseOld gives ErrOld where records were received too long ago and are not
// forced.
func (r *Replayer) refuseOld(q ReplayRequest, p ReplayProgress, limit ageLimit) error {
	if q.Force {
		return nil
	}
	young, err := r.log.Since(q.Lane, limit.oldest)
	if err != nil {
		return fmt.Errorf("find age of records: %w", err)
	}
	if young <= p.From {
		return nil
	}
	return fmt.Errorf("%w: %d of the records, %s %d to %d, were received more than %s ago and would come out twice; "+
		"begin with %d, or use force, which marks their events as replayed", ErrOld,
		min(young-1, p.To)-p.From+1, q.Lane, p.From, min(young-1, p.To), r.cfg.Window, young)
}

// step applies a batch of records, up to the first that is refused.
func (r *Replayer) step(ctx context.Context, lane wal.Lane, records []wal.Record, limit ageLimit, p *ReplayProgress) error {
	var events []event.Event
	var refused error
	through := p.Seq
	for i := range records {
		record := &records[i]
		decoded, dead, err := r.decode(lane, record)
		if err != nil {
			return err
		}
		if refused = limit.refuse(lane, record.Seq, decoded); refused != nil {
			break
		}
		events = append(events, decoded...)
		p.Records++
		p.Dead += int64(dead)
		through = record.Seq
	}
	if err := r.apply(ctx, limit, events, p); err != nil {
		return err
	}
	p.Seq = through
	return refused
}

// decode gives a record's events, and how many items of it are dead.
func (r *Replayer) decode(lane wal.Lane, record *wal.Record) (events []event.Event, dead int, err error) {
	// A record that ended the process must not end it again.
	switch letter, err := r.log.DeadLetter(lane, record.Seq, wal.WholeRecord); {
	case err == nil && letter.Received.Equal(record.Received):
		return nil, 1, nil
	case err != nil && !errors.Is(err, wal.ErrNotFound):
		return nil, 0, err
	}
	events, items := meta.Decode(record.Received, record.Body)
	return events, len(items), nil
}

// apply applies events, in order for each partition. They must not be refused.
func (r *Replayer) apply(ctx context.Context, limit ageLimit, events []event.Event, p *ReplayProgress) error {
	shares := make([][]event.Event, r.store.Partitions())
	for i := range events {
		n := event.Partition(events[i].Key, len(shares))
		shares[n] = append(shares[n], events[i])
	}
	for n, share := range shares {
		for len(share) > 0 {
			mode := limit.mode(&share[0])
			run := 1
			for run < len(share) && limit.mode(&share[run]) == mode {
				run++
			}
			result, err := r.applyShare(ctx, &store.Batch{Mode: mode, Partition: n, Events: share[:run]})
			if err != nil {
				return fmt.Errorf("apply events again: %w", err)
			}
			p.count(mode, result.Outcomes)
			share = share[run:]
		}
	}
	return nil
}

func (p *ReplayProgress) count(mode store.Mode, outcomes []store.Outcome) {
	for _, outcome := range outcomes {
		switch {
		case mode == store.Forced:
			p.Replayed++
		case outcome == store.Duplicate:
			p.Duplicate++
		case outcome == store.Stale:
			p.Stale++
		default:
			p.Fresh++
		}
	}
}

// applyShare tries until the store answers, but not for ever.
func (r *Replayer) applyShare(ctx context.Context, batch *store.Batch) (store.Result, error) {
	for attempt := 0; ; attempt++ {
		result, err := r.tryShare(ctx, batch)
		if err == nil || ctx.Err() != nil || attempt+1 == replayTries {
			return result, err
		}
		sleep(ctx, retry.Wait(attempt, rand.Float64()))
	}
}

func (r *Replayer) tryShare(ctx context.Context, batch *store.Batch) (store.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ApplyTimeout)
	defer cancel()
	return claimAndApply(ctx, r.store, batch)
}
