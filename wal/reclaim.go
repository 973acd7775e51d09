package wal

import (
	"context"
	"sync"
)

// reclaimer gives the space of deleted records back to the disk. A deletion is
// but a mark; left to itself Pebble drops what is under it much later, so that
// a log near its limit would take twice that. A compaction of that range drops
// whole tables and rewrites only those at its end.
//
// It has a goroutine while there is work, apart from the janitor, because a
// compaction waits where the disk is full.
//
// A compaction that has begun is never called off: Pebble 2.1.7 may have picked
// it already, then finds it gone, and panics with a lock in a state that ends
// the process. So they are made a span at a time, and stop waits for one.
type reclaimer struct {
	log    *Log
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex
	running bool
	// through is the last record deleted and not reclaimed, by lane; 0 for none.
	through [len(Lanes)]uint64

	// done is the last record reclaimed, by lane; run's own.
	done [len(Lanes)]uint64
}

func newReclaimer(l *Log) *reclaimer {
	r := &reclaimer{log: l}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// reclaim gives back the space of the lane's records up to through. It does not
// wait.
func (r *reclaimer) reclaim(lane Lane, through uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.through[lane] = through
	if !r.running {
		r.running = true
		r.group.Go(r.run)
	}
}

func (r *reclaimer) run() {
	for {
		lane, through, ok := r.next()
		if !ok {
			return
		}
		if err := r.reclaimLane(lane, through); err != nil && r.ctx.Err() == nil {
			r.log.logger.Warn("cannot give back disk space, the next deletion tries again", "lane", lane.String(), "error", err)
		}
	}
}

// reclaimLane gives back the space of the lane's records up to through, until
// stop is called.
func (r *reclaimer) reclaimLane(lane Lane, through uint64) error {
	flushed, err := r.log.db.AsyncFlush()
	if err != nil {
		return err
	}
	if flushed != nil {
		select {
		case <-flushed:
		case <-r.ctx.Done():
			return nil
		}
	}
	for r.done[lane] < through && r.ctx.Err() == nil {
		end := min((r.done[lane]>>spanBits+1)<<spanBits, through)
		err := r.log.db.Compact(context.Background(), recordKey(lane, r.done[lane]), recordKey(lane, end), false)
		if err != nil {
			return err
		}
		r.done[lane] = end
	}
	return nil
}

// next takes a lane with work; without any the goroutine has to end.
func (r *reclaimer) next() (lane Lane, through uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, lane := range Lanes {
		if through := r.through[lane]; through > 0 && r.ctx.Err() == nil {
			r.through[lane] = 0
			return lane, through, true
		}
	}
	r.running = false
	return 0, 0, false
}

// stop ends the work and waits for it; what is left is given back after the
// next deletion of a log that is opened again.
func (r *reclaimer) stop() {
	r.cancel()
	r.group.Wait()
}
