package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/meta"
	"spillway/dispatch/store"
	"spillway/wal"
)

// drainer reads a lane once for all its members, and feeds them.
type drainer struct {
	lane *lane
	late bool

	// next is the first record not yet read; count is how many members there
	// are. Others look at both, the loop alone changes them.
	next  atomic.Uint64
	count atomic.Int64

	members []*member // the loop's own
	// covered is the last record that was read, what idle members are moved to.
	covered store.Cursor
	read    time.Time // when the last batch was
	moved   time.Time // when idle members were last moved

	mu     sync.Mutex
	joined []*member // to be taken in by the loop
	wake   chan struct{}
}

// member is a worker while a drainer feeds it; it was fed records up to sent.
type member struct {
	worker *worker
	sent   uint64
	jump   bool
}

func newDrainer(l *lane, late bool) *drainer {
	return &drainer{lane: l, late: late, wake: make(chan struct{}, 1)}
}

// join makes a worker a member, to be fed from record next on.
func (r *drainer) join(w *worker, next uint64) {
	r.mu.Lock()
	r.joined = append(r.joined, &member{worker: w, sent: next - 1})
	if r.count.Add(1) == 1 {
		r.next.Store(next) // so that those who join after it know where it is
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run feeds members until ctx ends or the log fails.
func (r *drainer) run(ctx context.Context) error {
	var reader *wal.Reader
	defer func() {
		if reader != nil {
			reader.Close()
		}
	}()
	for {
		if r.takeIn() && reader != nil {
			reader.Close()
			reader = nil
		}
		if len(r.members) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			}
			continue
		}
		if reader == nil {
			reader = r.lane.dispatcher.log.Reader(r.lane.id, r.next.Load())
		}
		switch err := r.round(ctx, reader); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, wal.ErrTrimmed):
			r.jump()
			reader.Close()
			reader = nil
		case err != nil:
			return err
		}
	}
}

// takeIn makes members of those that joined. It reports whether reading must
// start anew, further back.
func (r *drainer) takeIn() (restart bool) {
	r.mu.Lock()
	joined := r.joined
	r.joined = nil
	r.mu.Unlock()
	for _, m := range joined {
		if len(r.members) == 0 || m.sent+1 < r.next.Load() {
			r.next.Store(m.sent + 1)
			r.covered = store.Cursor{}
			restart = true
		}
		r.members = append(r.members, m)
	}
	return restart
}

// jump goes on at the log's first record, where those before it are gone.
func (r *drainer) jump() {
	first := r.lane.extent().first
	r.lane.countGap(r.next.Load(), first)
	r.next.Store(first)
	for _, m := range r.members {
		if m.sent+1 < first {
			m.sent, m.jump = first-1, true
		}
	}
}

// round reads a batch and feeds it; where none comes for an interval it moves
// the idle members on.
func (r *drainer) round(ctx context.Context, reader *wal.Reader) error {
	d := r.lane.dispatcher
	waiting, cancel := context.WithTimeout(ctx, d.cfg.WatchInterval)
	records, err := reader.Next(waiting, d.cfg.BatchRecords, d.cfg.BatchBytes)
	cancel()
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		r.moveIdle(ctx)
		return nil
	case err != nil:
		return fmt.Errorf("read %s lane: %w", r.lane.id, err)
	}
	began, arrived := time.Now(), d.arrivals()
	r.read = began
	last := records[len(records)-1]
	backlog := d.log.Head(r.lane.id)-last.Seq >= uint64(len(records))
	if time.Since(r.moved) >= d.cfg.WatchInterval {
		r.moveIdle(ctx)
	}
	shares, dead, err := r.decode(ctx, records)
	if err != nil {
		return err
	}
	// Buried before any cursor passes them, and in one go: each time is a sync.
	if err := r.bury(dead); err != nil {
		return err
	}
	r.covered = store.Cursor{Seq: last.Seq, Hash: last.Hash}
	r.feed(ctx, shares)
	r.next.Store(last.Seq + 1)
	if r.late {
		r.handOver(ctx)
	}
	if backlog {
		r.giveWay(ctx, len(records), arrived, time.Since(began))
	} else if pause := pauseAfter(r.lane.id, len(records)); pause > 0 {
		sleep(ctx, pause)
	}
	return nil
}

const (
	// busyRound is the least a round reads in a lane that is busy, heavyRound in one
	// that is as busy as it can be.
	busyRound  = 16
	heavyRound = 512
	// How long records then gather. A store takes one step of many events a
	// partition at a fraction of the cost of many steps of one.
	expressPause = 2 * time.Millisecond
	bulkPause    = 20 * time.Millisecond
	heavyPause   = 50 * time.Millisecond
)

// pauseAfter is how long a drainer that is level waits after a round of so many
// records: not where there are few.
func pauseAfter(lane wal.Lane, records int) time.Duration {
	switch {
	case records < busyRound:
		return 0
	case lane == wal.Express:
		return expressPause
	case records < heavyRound:
		return bulkPause
	}
	return heavyPause
}

// share is what a batch holds for one partition.
type share struct {
	events []event.Event
	seqs   []uint64
}

// decode turns records into each partition's share, and what of them cannot be
// decoded into dead letters.
func (r *drainer) decode(ctx context.Context, records []wal.Record) ([]share, []wal.DeadLetter, error) {
	d, id := r.lane.dispatcher, r.lane.id
	if err := d.turns.take(ctx, id); err != nil {
		return nil, nil, err
	}
	defer d.turns.done()
	slot := slotOf(id, r.late)
	shares := make([]share, d.store.Partitions())
	var letters []wal.DeadLetter
	for i := range records {
		record := &records[i]
		if d.suspects.deadly(record.Hash) {
			dead := []meta.Dead{{Reason: "the process ended three times while this was decoded"}}
			letters = appendDead(letters, id, record, dead)
			continue
		}
		d.suspects.mark(slot, record.Hash)
		events, dead := meta.Decode(record.Received, record.Body)
		d.suspects.mark(slot, 0)
		letters = appendDead(letters, id, record, dead)
		for _, e := range events {
			s := &shares[event.Partition(e.Key, len(shares))]
			s.events = append(s.events, e)
			s.seqs = append(s.seqs, record.Seq)
		}
	}
	return shares, letters, nil
}

// appendDead makes dead letters of a record's items. The first has the whole
// body, once, however many items are malformed.
func appendDead(letters []wal.DeadLetter, lane wal.Lane, record *wal.Record, dead []meta.Dead) []wal.DeadLetter {
	for i, item := range dead {
		letter := wal.DeadLetter{
			Lane: lane, Seq: record.Seq, Item: i, Received: record.Received,
			App: record.App, Path: item.Path, Reason: item.Reason,
		}
		if item.Path == "" {
			letter.Item = wal.WholeRecord
		}
		if i == 0 {
			letter.Signature, letter.Body = record.Signature, record.Body
		}
		letters = append(letters, letter)
	}
	return letters
}

// bury keeps dead letters. Those that are kept already, because their records
// are read again, are not counted again.
func (r *drainer) bury(letters []wal.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	d := r.lane.dispatcher
	added, err := d.log.Bury(letters...)
	if err != nil {
		return fmt.Errorf("bury dead letters: %w", err)
	}
	d.metrics.dead(added)
	if added > 0 {
		r.lane.logger.Warn("webhooks hold what cannot be decoded: kept as dead letters", "items", added,
			"sequence", letters[0].Seq, "path", letters[0].Path, "reason", letters[0].Reason)
	}
	return nil
}

// feed gives every member its share, after what it was sent already.
func (r *drainer) feed(ctx context.Context, shares []share) {
	for _, m := range slices.Clone(r.members) {
		s := shares[m.worker.partition]
		skip := 0
		for skip < len(s.seqs) && s.seqs[skip] <= m.sent {
			skip++
		}
		if skip < len(s.seqs) {
			r.send(ctx, m, s.events[skip:], s.seqs[skip:])
		}
	}
	r.dropLost()
	for _, m := range r.members {
		m.worker.fed(r.covered.Seq, m.sent)
	}
}

// moveIdle moves the cursors of members whose partition had no events lately,
// so that the records they have passed can be released.
func (r *drainer) moveIdle(ctx context.Context) {
	r.moved = time.Now()
	r.dropLost()
	for _, m := range slices.Clone(r.members) {
		if m.sent < r.covered.Seq {
			r.send(ctx, m, nil, nil)
		}
	}
}

// dropLost lets go of members that have lost their place.
func (r *drainer) dropLost() {
	for _, m := range slices.Clone(r.members) {
		if m.worker.lost.Load() {
			r.letGo(m)
		}
	}
}

// send queues a step for a member. A full queue is waited for, except that of a
// member whose store is away while another's is not: that one is let go.
func (r *drainer) send(ctx context.Context, m *member, events []event.Event, seqs []uint64) {
	s := step{start: m.sent + 1, to: r.covered, events: events, seqs: seqs, read: r.read, jump: m.jump}
	select {
	case m.worker.queue <- s:
	default:
		if !r.wait(ctx, m, s) {
			return
		}
	}
	m.sent, m.jump = r.covered.Seq, false
}

// wait queues a step once there is room. It reports false where it did not: ctx
// ended, or the member was let go.
func (r *drainer) wait(ctx context.Context, m *member, s step) bool {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for !m.worker.lost.Load() && !(m.worker.away() && r.othersWork(m)) {
		select {
		case m.worker.queue <- s:
			return true
		case <-ctx.Done():
			return false
		case <-look.C:
		}
	}
	r.letGo(m)
	return false
}

// othersWork reports whether any other partition of the lane is not away.
func (r *drainer) othersWork(m *member) bool {
	for _, other := range r.lane.workers {
		if other != m.worker && !other.away() {
			return true
		}
	}
	return false
}

// letGo ends a membership; the worker takes a place again when it can.
func (r *drainer) letGo(m *member) {
	r.remove(m)
	m.worker.released <- struct{}{}
}

func (r *drainer) remove(m *member) {
	if i := slices.Index(r.members, m); i >= 0 {
		r.members = slices.Delete(r.members, i, i+1)
		r.count.Add(-1)
	}
}

// handOver gives the late members to the lead once they are near it, or it has
// none of its own. Idle ones are moved first: else the lead would go back to
// where they last had events.
func (r *drainer) handOver(ctx context.Context) {
	lead := r.lane.lead
	if lead.count.Load() > 0 && r.next.Load()+r.lane.near() < lead.next.Load() {
		return
	}
	r.moveIdle(ctx)
	for _, m := range slices.Clone(r.members) {
		r.remove(m)
		lead.join(m.worker, m.sent+1)
	}
}

// arrivals counts the records of both lanes since the log was made.
func (d *Dispatcher) arrivals() (sum uint64) {
	for _, id := range wal.Lanes {
		sum += d.log.Head(id)
	}
	return sum
}

// giveWay rests after a round of so many records, where there is a backlog, for as
// long as webhooks arrive and are owed processor time: a backlog is worked off,
// but not at the cost of the acks.
func (r *drainer) giveWay(ctx context.Context, records int, arrived uint64, worked time.Duration) {
	d := r.lane.dispatcher
	for rested := time.Duration(0); ctx.Err() == nil; {
		step := restStep(records, int(d.arrivals()-arrived), worked, rested)
		if step == 0 {
			return
		}
		sleep(ctx, step)
		rested += step
	}
}

const (
	// recordWork is about what a record takes of a processor, decoded and applied.
	recordWork = 25 * time.Microsecond
	// quietRate: fewer arrivals a second are no load.
	quietRate = 500
	// gainPercent is how fast a backlog is drained under load, in percent of what
	// arrives, and mostRest the longest rest, as a multiple of the work.
	gainPercent = 125
	mostRest    = 3
)

// restStep is how long to rest before looking again, after a round of records
// that took worked, during and since which so many arrived; 0 to go on. A store
// works on after the round, so that no record counts for less than recordWork.
func restStep(records, arrived int, worked, rested time.Duration) time.Duration {
	quiet := float64(arrived) < quietRate*(worked+rested).Seconds()
	work := max(worked, time.Duration(records)*recordWork)
	if quiet || arrived*gainPercent >= records*100 || rested >= mostRest*work {
		return 0
	}
	return min(max(work/8, time.Millisecond), 50*time.Millisecond)
}
