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
	// ErrOld: a record is older than the dedupe window, so that its events could
	// not be told from those the store has; only force replays it.
	ErrOld = errors.New("older than the dedupe window")
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
}

// ReplayRequest names records of a lane.
type ReplayRequest struct {
	Lane wal.Lane
	// From and To are both included; 0 is the first and the last kept.
	From, To uint64
	// Force appends the events of records that are older than the window, marked
	// as replayed, where else they are refused.
	Force bool
}

// ReplayProgress counts what came of a replay so far.
type ReplayProgress struct {
	// Seq is the last record done, From and To are what was asked for.
	Seq, From, To uint64
	// Records counts records, the others events; Replayed are those forced, Dead
	// the items that cannot be decoded, which are dead letters already.
	Records, Fresh, Duplicate, Stale, Replayed, Dead int64
}

// Replayer dispatches records again, beside a Dispatcher or without one. What
// the store has stays as it is; what it lost takes its effect.
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
	return &Replayer{cfg: cfg, log: log, store: st}, nil
}

// old reports whether a record that was received then is out of the window.
func (r *Replayer) old(received time.Time) bool {
	return received.Before(time.Now().Add(-r.cfg.Window))
}

// Replay dispatches the records again, in order, and tells progress, which may
// be nil, after each step. ErrOld before anything is done; wal.ErrTrimmed and
// wal.ErrBeyond where From or To are not kept. After another error the records
// up to Seq are done, and the same request from there on is safe.
func (r *Replayer) Replay(ctx context.Context, q ReplayRequest, progress func(ReplayProgress)) (ReplayProgress, error) {
	p, err := r.extent(q)
	if err != nil || p.From > p.To {
		return p, err
	}
	if err := r.refuseOld(q, p); err != nil {
		return p, err
	}
	reader := r.log.Reader(q.Lane, p.From)
	defer reader.Close()
	for p.Seq < p.To {
		records, err := reader.Next(ctx, int(min(replayRecords, p.To-p.Seq)), replayBytes)
		if err != nil {
			return p, fmt.Errorf("read %s lane: %w", q.Lane, err)
		}
		if err := r.step(ctx, q.Lane, records, &p); err != nil {
			return p, err
		}
		p.Seq = records[len(records)-1].Seq
		if progress != nil {
			progress(p)
		}
	}
	return p, nil
}

// extent resolves what was asked for. From > To where the lane has no record.
func (r *Replayer) extent(q ReplayRequest) (ReplayProgress, error) {
	first, head := r.log.First(q.Lane), r.log.Head(q.Lane)
	p := ReplayProgress{From: q.From, To: q.To}
	if p.From == 0 {
		p.From = first
	}
	if p.To == 0 {
		p.To = head
	}
	p.Seq = p.From - 1
	switch {
	case q.From > 0 && q.To > 0 && q.From > q.To:
		return p, fmt.Errorf("records from %d to %d: from must not be above to", q.From, q.To)
	case q.From > 0 && q.From < first:
		return p, fmt.Errorf("%w: %s record %d, the first kept is %d", wal.ErrTrimmed, q.Lane, q.From, first)
	case q.To > head:
		return p, fmt.Errorf("%w: %s record %d, the last is %d", wal.ErrBeyond, q.Lane, q.To, head)
	}
	return p, nil
}

// refuseOld gives ErrOld where records are older than the window and not forced.
func (r *Replayer) refuseOld(q ReplayRequest, p ReplayProgress) error {
	if q.Force {
		return nil
	}
	young, err := r.log.Since(q.Lane, time.Now().Add(-r.cfg.Window))
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

// step applies a batch of records: first the old ones, which stand first.
func (r *Replayer) step(ctx context.Context, lane wal.Lane, records []wal.Record, p *ReplayProgress) error {
	events := map[store.Mode][]event.Event{}
	for i := range records {
		record := &records[i]
		p.Records++
		// A record that ended the process must not end it again.
		if _, err := r.log.DeadLetter(lane, record.Seq, wal.WholeRecord); err == nil {
			p.Dead++
			continue
		} else if !errors.Is(err, wal.ErrNotFound) {
			return err
		}
		decoded, dead := meta.Decode(record.Received, record.Body)
		p.Dead += int64(len(dead))
		mode := r.mode(record.Received)
		events[mode] = append(events[mode], decoded...)
	}
	for _, mode := range []store.Mode{store.Forced, store.Again} {
		if err := r.apply(ctx, mode, events[mode], p); err != nil {
			return err
		}
	}
	return nil
}

func (r *Replayer) mode(received time.Time) store.Mode {
	if r.old(received) {
		return store.Forced
	}
	return store.Again
}

// apply applies events, in order for each partition.
func (r *Replayer) apply(ctx context.Context, mode store.Mode, events []event.Event, p *ReplayProgress) error {
	shares := make([][]event.Event, r.store.Partitions())
	for i := range events {
		n := event.Partition(events[i].Key, len(shares))
		shares[n] = append(shares[n], events[i])
	}
	for n, share := range shares {
		if len(share) == 0 {
			continue
		}
		result, err := r.applyShare(ctx, &store.Batch{Mode: mode, Partition: n, Events: share})
		if err != nil {
			return fmt.Errorf("apply events again: %w", err)
		}
		for _, outcome := range result.Outcomes {
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
	return nil
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
	if err := claimContacts(ctx, r.store, batch.Events, batch.Mode); err != nil {
		return store.Result{}, err
	}
	return r.store.Apply(ctx, batch)
}
