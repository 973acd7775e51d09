package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// trimEvery is how often records are looked at for their age; few large
	// deletions are cheaper than many small ones.
	trimEvery = time.Minute
	// settle is how long a deletion made for want of disk space gets to free it,
	// before more goes.
	settle = 30 * time.Second
	// Above highWater percent of Config.MaxBytes released records go early, until
	// lowWater percent are left.
	highWater, lowWater = 90, 80
)

// Release says that the records of a lane up to through have done their work:
// they may go when their time has come. It is on disk about a second later, so
// that after a crash Released is a lower bound.
func (l *Log) Release(lane Lane, through uint64) {
	if !l.readOnly {
		l.lanes[lane].release(through)
	}
}

// Released is the last record released, 0 where there is none.
func (l *Log) Released(lane Lane) uint64 { return l.lanes[lane].released.Load() }

// janitor keeps the figures of space and releases fresh and deletes what has
// had its time. Its fields are under mu, which Renew takes as well.
type janitor struct {
	log  *Log
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	aged    time.Time // when age was last looked at
	settled time.Time // when want of disk space may delete again

	reclaimer *reclaimer
}

func startJanitor(l *Log) *janitor {
	j := &janitor{log: l, quit: make(chan struct{}), done: make(chan struct{}), reclaimer: newReclaimer(l)}
	go j.run()
	return j
}

func (j *janitor) run() {
	defer close(j.done)
	ticker := time.NewTicker(j.log.config.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			j.report(j.tick(j.log.config.now()))
		case <-j.quit:
			j.mu.Lock()
			defer j.mu.Unlock()
			j.report(j.persist())
			return
		}
	}
}

// report logs an error; one of a log that failed was reported already.
func (j *janitor) report(err error) {
	if err != nil && !errors.Is(err, ErrFailed) {
		j.log.logger.Error("cannot trim the log, trying again", "error", err)
	}
}

func (j *janitor) stop() {
	close(j.quit)
	<-j.done
	j.reclaimer.stop()
}

// tick does all that is due at now.
func (j *janitor) tick(now time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.log.space.refresh()
	if err := j.persist(); err != nil {
		return err
	}
	for _, lane := range Lanes {
		if err := j.log.refreshLane(lane); err != nil {
			return err
		}
	}
	if needed := j.needed(now); needed > 0 || now.Sub(j.aged) >= trimEvery {
		j.aged = now
		return j.trim(now, needed)
	}
	return nil
}

// needed is how many bytes should go before their time.
func (j *janitor) needed(now time.Time) int64 {
	limit := j.log.config.MaxBytes
	kept := j.log.keptBytes()
	var needed int64
	if kept > limit/100*highWater {
		needed = kept - limit/100*lowWater
	}
	if missing := j.log.space.missing(); missing > 0 && !now.Before(j.settled) {
		j.settled = now.Add(settle)
		needed = max(needed, missing)
	}
	return needed
}

// persist writes the releases that are new.
func (j *janitor) persist() error {
	for _, lane := range Lanes {
		state := j.log.lanes[lane]
		released := state.released.Load()
		if released == state.persisted {
			continue
		}
		err := j.log.do(func(batch *pebble.Batch) error {
			return batch.Set(releasedKey(lane), binary.BigEndian.AppendUint64(nil, released), nil)
		})
		if err != nil {
			return fmt.Errorf("write release: %w", err)
		}
		state.persisted = released
	}
	return nil
}

// refreshLane brings the figures up to date that need a read.
func (l *Log) refreshLane(lane Lane) error {
	state := l.lanes[lane]
	end, err := l.endOf(lane, state.released.Load())
	if err != nil {
		return fmt.Errorf("measure %s lane: %w", lane, err)
	}
	state.releasedEnd.Store(end)
	first := l.First(lane)
	if first > l.Head(lane) {
		state.oldest.Store(0)
		return nil
	}
	h, err := l.header(lane, first)
	if err != nil {
		return fmt.Errorf("measure %s lane: %w", lane, err)
	}
	state.oldest.Store(h.received)
	return nil
}

// endOf is the bytes of the lane up to and with a record that is kept, or is
// the one before those.
func (l *Log) endOf(lane Lane, seq uint64) (uint64, error) {
	if begin := l.lanes[lane].start(); seq+1 == begin.first {
		return begin.offset, nil
	}
	h, err := l.header(lane, seq)
	return h.end, err
}

// trim deletes the released records older than Config.Retain, or more where
// bytes are needed, oldest first, but none younger than ten minutes; and dead
// letters older than Config.DeadRetain.
func (j *janitor) trim(now time.Time, needed int64) error {
	l := j.log
	cutoff := now.Add(-l.config.Retain).UnixNano()
	if needed > 0 {
		early, err := l.cutoffFor(needed, now.Add(-youngest).UnixNano())
		if err != nil {
			return fmt.Errorf("make room: %w", err)
		}
		cutoff = max(cutoff, early)
	}
	for _, lane := range Lanes {
		through, err := l.trimmable(lane, cutoff)
		if err == nil && through >= l.First(lane) {
			if err = l.trimLane(lane, through); err == nil {
				j.reclaimer.reclaim(lane, through)
			}
		}
		if err != nil {
			return fmt.Errorf("trim %s lane: %w", lane, err)
		}
	}
	return l.trimDead(now.Add(-l.config.DeadRetain).UnixNano())
}

// trimmable is the last record that is released and was received before cutoff;
// First-1 where there is none.
func (l *Log) trimmable(lane Lane, cutoff int64) (uint64, error) {
	released := l.lanes[lane].released.Load()
	seq, err := l.since(lane, cutoff)
	if err != nil {
		return 0, err
	}
	return min(seq-1, released), nil
}

// cutoffFor is the earliest time, to the second, such that deleting what was
// received before it frees the bytes needed; latest where none does.
func (l *Log) cutoffFor(needed, latest int64) (int64, error) {
	oldest := latest
	for _, state := range l.lanes {
		if t := state.oldest.Load(); t != 0 {
			oldest = min(oldest, t)
		}
	}
	var failed error
	second := int64(time.Second)
	n := sort.Search(int((latest-oldest)/second)+1, func(i int) bool {
		freed, err := l.freedBy(oldest + int64(i)*second)
		if err != nil && failed == nil {
			failed = err
		}
		return err != nil || freed >= needed
	})
	return min(oldest+int64(n)*second, latest), failed
}

// freedBy is how many bytes go with the records received before cutoff.
func (l *Log) freedBy(cutoff int64) (int64, error) {
	var sum int64
	for _, lane := range Lanes {
		through, err := l.trimmable(lane, cutoff)
		if err != nil {
			return 0, err
		}
		end, err := l.endOf(lane, through)
		if err != nil {
			return 0, err
		}
		sum += int64(end - l.lanes[lane].start().offset)
	}
	return sum, nil
}

// trimLane deletes the records up to through, which is kept. The start moves first, so that a
// reader which finds a record gone knows why.
func (l *Log) trimLane(lane Lane, through uint64) error {
	state := l.lanes[lane]
	begin := state.start()
	h, err := l.header(lane, through)
	if err != nil {
		return err
	}
	moved := start{first: through + 1, hash: h.hash, offset: h.end}
	state.mu.Lock()
	state.begin = moved
	state.mu.Unlock()
	err = l.do(func(batch *pebble.Batch) error {
		err := batch.DeleteRange(recordKey(lane, begin.first), recordKey(lane, moved.first), nil)
		return errors.Join(err, batch.Set(startKey(lane), moved.encode(), nil))
	})
	if err != nil {
		return err
	}
	l.logger.Debug("log trimmed", "lane", lane.String(), "records", moved.first-begin.first, "bytes", moved.offset-begin.offset)
	return l.refreshLane(lane)
}
