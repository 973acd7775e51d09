package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/store"
)

const (
	// settleEvery is how long what is over may wait for more, settleItems how much of
	// it does not wait.
	settleEvery = 50 * time.Millisecond
	settleItems = 64
	// prefetch is how many parked deliveries are fetched at once.
	prefetch = 32
)

// storeRetry is how a store that fails is asked again.
var storeRetry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// share is one endpoint's part of one partition, leased by this receiver. One
// goroutine runs it.
type share struct {
	d        *Deliverer
	endpoint *endpoint
	lease    store.Lease
	// until is when the lease is over by this receiver's clock, in Unix nanoseconds.
	until atomic.Int64
	// ctx ends when nothing of it may go on.
	ctx    context.Context
	cancel context.CancelFunc
	// sending ends before ctx where it is to end in order and requests take too long.
	sending context.Context
	cut     context.CancelFunc
	// stop is closed where it is to end in order, done when it has.
	stop, done chan struct{}
	news       chan struct{} // holds one: the stream may have more
	results    chan *job     // what workers have done; read until underWay is 0

	// What follows is its goroutine's own.
	cursor, read store.Place
	hasNews      bool
	window       window
	parked       *parked
	ready        []*job // parked ones with their events, taken from parked
	underWay     int
	parkedTurn   bool
	// retried, finished and dead are of parked ones, to be settled; unsettled is since
	// when anything is.
	retried   []store.Parked
	finished  []store.Place
	dead      []store.Dead
	unsettled time.Time
	failures  int
	askAgain  time.Time

	// stored is cursor, for others. settlings is odd while the store is told another.
	stored    atomic.Pointer[store.Place]
	settlings atomic.Uint64
	// hurry is a time in Unix milliseconds: what is read of before may soon be trimmed,
	// so that it is parked and not sent. missed is the place up to which events were
	// trimmed unread.
	hurry  atomic.Uint64
	missed store.Place // the manager's own
	// reached is how far it has read, for others.
	reached atomic.Pointer[store.Place]
	// counted are what the gauges add up.
	count  atomic.Int64
	oldest atomic.Int64 // Unix milliseconds, 0 for none
}

func newShare(d *Deliverer, e *endpoint, lease store.Lease, until time.Time) *share {
	s := &share{
		d: d, endpoint: e, lease: lease, stop: make(chan struct{}), done: make(chan struct{}),
		news: make(chan struct{}, 1), results: make(chan *job, e.cfg.Concurrency),
		cursor: lease.Cursor, read: lease.Cursor, hasNews: true, window: newWindow(),
		parked: newParked(e.cfg.Order == OrderContact),
	}
	s.until.Store(until.UnixNano())
	s.stored.Store(&lease.Cursor)
	s.reached.Store(&lease.Cursor)
	s.ctx, s.cancel = context.WithCancel(e.ctx)
	s.sending, s.cut = context.WithCancel(s.ctx)
	return s
}

// mayDeliver reports whether the share is still this receiver's.
func (s *share) mayDeliver() bool {
	return time.Now().UnixNano() < s.until.Load() && s.ctx.Err() == nil
}

// run ends when the lease is lost, or after stop.
func (s *share) run() {
	defer close(s.done)
	defer s.cancel()
	if err := s.load(); err != nil {
		s.d.logger.Warn("what waits for an endpoint cannot be read, trying again", "endpoint", s.endpoint.cfg.Name, "error", err)
		return
	}
	for s.ctx.Err() == nil {
		if s.stopping() && s.underWay == 0 && s.finish() {
			return
		}
		if err := s.work(); err != nil {
			s.lost(err)
			return
		}
	}
	s.drain()
}

// load reads what is parked.
func (s *share) load() error {
	var all []store.Parked
	err := s.d.store.Waiting(s.ctx, s.lease, func(some []store.Parked) error {
		all = append(all, some...)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b store.Parked) int { return a.Place.Compare(b.Place) })
	all = slices.CompactFunc(all, func(a, b store.Parked) bool { return a.Place == b.Place })
	for _, p := range all {
		s.parked.add(p)
	}
	s.parked.sortByAge()
	s.gauge()
	return nil
}

func (s *share) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// work does one thing that is to be done, or waits for one.
func (s *share) work() error {
	now := time.Now()
	if now.After(s.askAgain) {
		if err := s.settle(now, false); err != nil {
			return err
		}
		if err := s.fill(now); err != nil {
			return err
		}
	}
	next := s.next(now)
	var jobs chan *job
	if next != nil {
		jobs = s.endpoint.jobs
	}
	timer := time.NewTimer(s.pause(now, next != nil))
	defer timer.Stop()
	stop := s.stop
	if s.stopping() {
		stop = nil
	}
	select {
	case <-s.ctx.Done():
	case <-stop:
	case jobs <- next:
		s.handed(next)
	case j := <-s.results:
		s.underWay--
		s.over(j, time.Now())
	case <-s.news:
		s.hasNews = true
	case <-timer.C:
	}
	return nil
}

// pause is how long there is nothing to do but what comes.
func (s *share) pause(now time.Time, offers bool) time.Duration {
	at := now.Add(time.Second)
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	switch {
	case s.askAgain.After(now):
		earlier(s.askAgain)
		return max(0, at.Sub(now))
	case s.window.settled() >= settleItems, s.mayFill():
		return 0
	case !s.unsettled.IsZero():
		earlier(s.unsettled.Add(settleEvery))
	}
	if due, ok := s.parked.nextDue(); ok && !offers && len(s.ready) == 0 && s.mayDeliver() && !s.stopping() {
		if unblocks := s.endpoint.unblocks(now); s.endpoint.isBlocked(now) && unblocks.After(due) {
			due = unblocks
		}
		earlier(due)
	}
	return max(0, at.Sub(now))
}

// fill reads on in the stream, where there may be more and room for it.
func (s *share) fill(now time.Time) error {
	if !s.mayFill() {
		return nil
	}
	room := s.window.room()
	entries, err := s.d.store.Read(s.ctx, s.lease.Partition, s.read, room, windowBytes)
	if err != nil {
		return s.failed(now, err)
	}
	bytes := 0
	for i := range entries {
		s.take(&entries[i])
		bytes += len(entries[i].Payload)
	}
	s.hasNews = len(entries) == room || bytes >= windowBytes
	if len(entries) > 0 {
		reached := s.read
		s.reached.Store(&reached)
	}
	return nil
}

// mayFill reports whether there may be more to read, and is room for it.
func (s *share) mayFill() bool {
	return s.hasNews && s.window.room() >= windowEvents/4 && !s.stopping()
}

// take puts an event into the window.
func (s *share) take(entry *store.Entry) {
	s.read = entry.Place
	i := &item{entry: *entry}
	if !s.endpoint.filter.Matches(entry.Type, entry.Payload) {
		i.state = over
	} else if s.parked.ordered {
		i.contact = contactOf(entry)
	}
	s.window.add(i, s.parked.ordered, s.parked.holds(i.contact))
	if i.settled() {
		s.touch()
	}
}

// touch notes that something is to be settled.
func (s *share) touch() {
	if s.unsettled.IsZero() {
		s.unsettled = time.Now()
	}
}

// next gives what to send next, nil where there is nothing.
func (s *share) next(now time.Time) *job {
	if s.stopping() || !s.mayDeliver() {
		return nil
	}
	if s.read.Ms < s.hurry.Load() && s.hasNews {
		s.window.parkAll(now)
		s.touch()
	}
	if s.endpoint.isBlocked(now) {
		s.putBack()
		s.window.parkAll(s.endpoint.unblocks(now))
		if s.window.settled() > 0 {
			s.touch()
		}
		return nil
	}
	if s.parkedTurn {
		if j := s.nextParked(now); j != nil {
			return j
		}
		return s.nextNew()
	}
	if j := s.nextNew(); j != nil {
		return j
	}
	return s.nextParked(now)
}

func (s *share) nextNew() *job {
	number, ok := s.window.next()
	if s.window.settled() > 0 {
		s.touch()
	}
	if !ok {
		return nil
	}
	return &job{entry: s.window.at(number).entry, from: s, index: none, number: number}
}

// nextParked gives a parked delivery that is due, with its event.
func (s *share) nextParked(now time.Time) *job {
	if len(s.ready) == 0 && now.After(s.askAgain) {
		s.fetch(now)
	}
	if len(s.ready) == 0 {
		return nil
	}
	return s.ready[0]
}

// fetch takes parked deliveries that are due, and reads their events.
func (s *share) fetch(now time.Time) {
	if len(s.retried)+len(s.finished)+len(s.dead) >= 4*settleItems {
		return // the store takes nothing: what is to be settled is bounded, too
	}
	var taken []int32
	var places []store.Place
	for len(taken) < prefetch {
		index, ok := s.parked.takeDue(now)
		if !ok {
			break
		}
		taken, places = append(taken, index), append(places, s.parked.get(index).Place)
	}
	if len(taken) == 0 {
		return
	}
	entries, err := s.d.store.Entries(s.ctx, s.lease.Share, places)
	if err != nil {
		for _, index := range taken {
			p := s.parked.get(index)
			s.parked.retry(index, p.Due, p.Attempts)
		}
		_ = s.failed(now, err)
		return
	}
	for i, index := range taken {
		if entries[i].Place == (store.Place{}) { // it was forgotten on request
			s.finished = append(s.finished, places[i])
			s.parked.remove(index)
			s.touch()
			continue
		}
		s.ready = append(s.ready, &job{entry: entries[i], from: s, index: index})
	}
}

// putBack parks again what was fetched and not taken.
func (s *share) putBack() {
	for _, j := range s.ready {
		p := s.parked.get(j.index)
		s.parked.retry(j.index, p.Due, p.Attempts)
	}
	s.ready = nil
}

// handed notes that a worker has taken a job.
func (s *share) handed(j *job) {
	s.underWay++
	if j.index == none {
		s.window.at(j.number).state = underWay
		s.parkedTurn = true
		return
	}
	s.ready = s.ready[1:]
	s.parkedTurn = false
}

// failed notes that the store failed: it is asked again after a while.
func (s *share) failed(now time.Time, err error) error {
	if errors.Is(err, store.ErrFenced) || s.ctx.Err() != nil {
		return err
	}
	if s.failures == 0 {
		s.d.logger.Warn("the store fails a delivery to an endpoint, trying again", "endpoint", s.endpoint.cfg.Name, "error", err)
	}
	s.askAgain = now.Add(storeRetry.Wait(s.failures, rand.Float64()))
	s.failures++
	return nil
}

// lost gives up: the share is another receiver's, or the store went back. What is
// under way is cut short.
func (s *share) lost(err error) {
	s.cancel()
	if errors.Is(err, store.ErrFenced) {
		s.d.metrics.fenced.Inc()
	}
	s.drain()
}

// drain waits for the workers to be done with its jobs.
func (s *share) drain() {
	for ; s.underWay > 0; s.underWay-- {
		<-s.results
	}
}

// finish settles the rest and gives the lease back; false where it is to be tried
// again.
func (s *share) finish() bool {
	if time.Now().Before(s.askAgain) {
		return false
	}
	s.putBack()
	// Else what is delivered behind them would be delivered again.
	s.window.parkAll(time.Now())
	s.touch()
	if err := s.settle(time.Now(), true); err != nil {
		return true
	}
	if !s.unsettled.IsZero() {
		return false
	}
	if err := s.d.store.Release(s.ctx, s.lease); err != nil {
		s.d.logger.Debug("a lease was not given back, it runs out", "endpoint", s.endpoint.cfg.Name, "error", err)
	}
	return true
}

func (s *share) gauge() {
	s.count.Store(int64(s.parked.count))
	oldest, _ := s.parked.oldest()
	s.oldest.Store(oldest)
}
