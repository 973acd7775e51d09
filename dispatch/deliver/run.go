package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"spillway/dispatch/store"
)

// news tells shares that their partition's stream may have more.
type news struct {
	mu     sync.Mutex
	shares []map[*share]struct{} // by partition
}

func newNews(partitions int) *news {
	n := &news{shares: make([]map[*share]struct{}, partitions)}
	for p := range n.shares {
		n.shares[p] = make(map[*share]struct{})
	}
	return n
}

func (n *news) join(s *share) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shares[s.lease.Partition][s] = struct{}{}
}

func (n *news) leave(s *share) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.shares[s.lease.Partition], s)
}

func (n *news) tell(partition int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for s := range n.shares[partition] {
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}

func (n *news) tellAll() {
	for p := range n.shares {
		n.tell(p)
	}
}

// Run delivers until ctx ends; then it finishes what is under way, and gives its
// shares back.
func (d *Deliverer) Run(ctx context.Context) error {
	d.manage(ctx)
	closeAll(d.takeRetired())
	closeAll(d.current())
	return nil
}

// follow tells shares what is new.
func (d *Deliverer) follow(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := d.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > storeRetry.Most {
			failures = 0
		}
		if errors.Is(err, store.ErrWentBack) {
			d.restart()
		} else {
			d.logger.Warn("following the store for endpoints failed, trying again", "error", err)
		}
		d.news.tellAll()
		timer := time.NewTimer(storeRetry.Wait(failures, rand.Float64()))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// restart has all shares taken anew: the store went back, and what they know of it is
// not so any more.
func (d *Deliverer) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.shares {
		s.cancel()
	}
}

func (d *Deliverer) followOnce(ctx context.Context) error {
	bounds, _, err := d.store.Bounds(ctx)
	if err != nil {
		return err
	}
	from := make([]store.Place, len(bounds))
	for p := range bounds {
		from[p] = bounds[p].Last
	}
	d.news.tellAll() // of what came before
	return d.store.Follow(ctx, from, func(round store.Round) error {
		for p := range round.Entries {
			d.news.tell(p)
		}
		return nil
	})
}

// manage takes and gives back shares until ctx ends.
func (d *Deliverer) manage(ctx context.Context) {
	ticker := time.NewTicker(d.cfg.Interval)
	defer ticker.Stop()
	var f follower
	defer f.stop()
	var counted time.Time
	for ctx.Err() == nil {
		// Without endpoints the store is asked nothing.
		if d.isIdle() {
			f.stop()
			d.wait(ctx, ticker)
			continue
		}
		f.start(d)
		err := d.look(ctx)
		if err == nil && time.Since(counted) > countInterval {
			err = d.countDead(ctx)
			counted = time.Now()
		}
		if err != nil && ctx.Err() == nil {
			d.logger.Warn("the store does not serve deliveries, trying again", "error", err)
		}
		d.wait(ctx, ticker)
	}
	if d.isIdle() {
		return
	}
	d.endAll(func(*share) bool { return true })
	// What it had is the others' at once.
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := d.store.Members(leaving, d.cfg.Owner, 0); err != nil {
		d.logger.Debug("the store was not told that a receiver delivers no more, it will find out", "error", err)
	}
}

// wait waits for the next look.
func (d *Deliverer) wait(ctx context.Context, ticker *time.Ticker) {
	select {
	case <-ctx.Done():
	case <-d.changed:
	case <-ticker.C:
	}
}

// isIdle reports whether there is nothing to deliver to, nor was.
func (d *Deliverer) isIdle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.endpoints) == 0 && len(d.retired) == 0 && len(d.shares) == 0
}

// follower is what goes on beside the looks, while there are endpoints.
type follower struct {
	cancel context.CancelFunc
	parts  sync.WaitGroup
}

func (f *follower) start(d *Deliverer) {
	if f.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.parts.Go(func() { d.follow(ctx) })
	f.parts.Go(func() { d.forgetDead(ctx) })
}

func (f *follower) stop() {
	if f.cancel == nil {
		return
	}
	f.cancel()
	f.parts.Wait()
	f.cancel = nil
}

const (
	// countInterval is the time between two counts of dead deliveries, forgetInterval
	// that between two looks for those that were kept for long enough.
	countInterval  = 15 * time.Second
	forgetInterval = time.Hour
)

func (d *Deliverer) countDead(ctx context.Context) error {
	var errs []error
	for _, e := range d.current() {
		dead, err := d.store.DeadCount(ctx, e.cfg.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.dead.Store(dead)
	}
	return errors.Join(errs...)
}

// forgetDead drops dead deliveries that were kept for long enough, until ctx ends.
func (d *Deliverer) forgetDead(ctx context.Context) {
	ticker := time.NewTicker(forgetInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, e := range d.current() {
			if _, err := d.store.DeadForget(ctx, e.cfg.Name, time.Now().Add(-d.cfg.DeadRetain)); err != nil && ctx.Err() == nil {
				d.logger.Warn("old dead deliveries cannot be dropped, the next hour tries again", "endpoint", e.cfg.Name, "error", err)
			}
		}
	}
}

// look brings shares in line with the members and endpoints of now.
func (d *Deliverer) look(ctx context.Context) error {
	d.reap()
	renewing := d.renew(ctx)
	if partial := (*store.PartitionsError)(nil); renewing != nil && !errors.As(renewing, &partial) {
		return renewing
	}
	states, err := d.store.States(ctx)
	if err != nil {
		return err
	}
	members, err := d.store.Members(ctx, d.cfg.Owner, d.cfg.LeaseTTL)
	if err != nil {
		return err
	}
	bounds, _, err := d.store.Bounds(ctx)
	if err != nil {
		return err
	}
	retired, wanted := d.takeRetired(), make(map[store.Share]*endpoint)
	for _, e := range d.current() {
		e.paused.Store(states[e.cfg.Name].Paused)
		for p := range d.store.Partitions() {
			share := store.Share{Endpoint: e.cfg.Name, Partition: p}
			if chosen(share, members) == d.cfg.Owner {
				wanted[share] = e
			}
		}
	}
	d.endAll(func(s *share) bool { return wanted[s.lease.Share] != s.endpoint })
	closeAll(retired)
	err = d.acquire(ctx, wanted, bounds)
	d.hurry(bounds)
	return errors.Join(renewing, err)
}

// takeRetired gives the endpoints that are no more.
func (d *Deliverer) takeRetired() []*endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	retired := d.retired
	d.retired = nil
	return retired
}

// closeAll closes endpoints of which no share is left.
func closeAll(endpoints []*endpoint) {
	for _, e := range endpoints {
		e.close()
	}
}

// begin runs a share.
func (d *Deliverer) begin(s *share) {
	d.mu.Lock()
	d.shares[s.lease.Share] = s
	d.mu.Unlock()
	d.news.join(s)
	go s.run()
}

// end has the share end in order, once.
func (s *share) end() {
	if !s.stopping() {
		close(s.stop)
	}
}

// endAll ends shares, and waits for them while their leases last.
func (d *Deliverer) endAll(which func(*share) bool) {
	d.mu.Lock()
	var ending []*share
	for _, s := range d.shares {
		if which(s) {
			ending = append(ending, s)
			s.end()
		}
	}
	d.mu.Unlock()
	if len(ending) == 0 {
		return
	}
	cut := time.AfterFunc(endTimeout-time.Second, func() {
		for _, s := range ending {
			s.cut()
		}
	})
	defer cut.Stop()
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	for _, s := range ending {
		select {
		case <-s.done:
		case <-timer.C:
			timer.Reset(0)
			s.cancel()
			<-s.done
		}
	}
	d.reap()
}

const (
	// endTimeout is what shares have to finish what is under way.
	endTimeout = 5 * time.Second
	// leaveTimeout is what telling the store of an end may take.
	leaveTimeout = time.Second
)

// reap forgets the shares that have ended.
func (d *Deliverer) reap() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, s := range d.shares {
		select {
		case <-s.done:
			d.news.leave(s)
			delete(d.shares, at)
		default:
		}
	}
}

// pauseGone pauses an endpoint that has answered 410, for all receivers.
func (d *Deliverer) pauseGone(e *endpoint) {
	if e.paused.Swap(true) {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, endTimeout)
	defer cancel()
	state := store.EndpointState{Paused: true, Reason: "410 gone", Since: time.Now()}
	if err := d.store.SetState(ctx, e.cfg.Name, state); err != nil {
		d.logger.Error("an endpoint that has answered 410 could not be paused, its next answer tries again", "endpoint", e.cfg.Name, "error", err)
		e.paused.Store(false)
		return
	}
	d.logger.Error("an endpoint has answered 410: it is paused until spillway deliver resume", "endpoint", e.cfg.Name)
}
