package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// OpenConfig says how much is sent, for how long, over how many connections.
type OpenConfig struct {
	// Rate is how many webhooks are sent a second.
	Rate int
	// Connections is how many there are. Where all wait for an answer a send is
	// late, and its lateness is part of its latency.
	Connections int
	Duration    time.Duration
}

// Validate names everything that is wrong.
func (c OpenConfig) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Rate > 0 && c.Rate <= 1_000_000, "rate of %d a second: allowed are 1 to 1000000", c.Rate)
	check(c.Connections > 0 && c.Connections <= 10000, "%d connections: allowed are 1 to 10000", c.Connections)
	check(c.Duration > 0 && c.Duration <= maxDuration, "duration %s: must be above 0 and at most %s", c.Duration, maxDuration)
	return errors.Join(errs...)
}

// Open posts at a constant rate until the duration is over or ctx ends. What is
// refused is counted and not sent again; a connection that ends is replaced. An
// invalid config, or an address nobody listens on, is the Result's Err.
func Open(ctx context.Context, c *Campaign, address string, cfg OpenConfig) *Result {
	o := &open{campaign: c, address: address, total: newResult()}
	if err := cfg.Validate(); err != nil {
		o.total.fail(err)
		return o.total
	}
	o.schedule = schedule{rate: int64(cfg.Rate), duration: cfg.Duration}
	o.deadline = time.Now().Add(cfg.Duration + 2*answerTimeout)
	conns, err := o.connect(cfg.Connections)
	if err == nil {
		o.run(ctx, conns)
	} else {
		o.total.fail(err)
	}
	for _, conn := range conns {
		conn.close()
	}
	return o.total
}

// open is a run under way.
type open struct {
	campaign *Campaign
	address  string
	schedule schedule
	deadline time.Time
	began    time.Time
	// next is the next send that nobody has taken.
	next atomic.Int64

	mu sync.Mutex
	// total is under mu.
	total *Result
}

// connect opens all connections before the first send is due, so that they are
// no part of any latency.
func (o *open) connect(n int) (conns []*connection, err error) {
	for range n {
		conn, err := dial(o.address, o.deadline)
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func (o *open) run(ctx context.Context, conns []*connection) {
	o.began = time.Now()
	ctx, cancel := context.WithDeadline(ctx, o.began.Add(o.schedule.duration))
	defer cancel()
	var group sync.WaitGroup
	for i := range conns {
		group.Go(func() { conns[i] = o.work(ctx, conns[i]) })
	}
	<-ctx.Done()
	elapsed := min(time.Since(o.began), o.schedule.duration)
	group.Wait()
	o.total.Elapsed = max(elapsed, time.Nanosecond)
	sent := o.total.Errors
	for _, n := range o.total.Answers {
		sent += n
	}
	o.total.Unsent = max(o.schedule.due(elapsed)-sent, 0)
}

// work takes one send after the other, each at its time, or at once where that
// has passed. It returns its connection, which may be another by now.
func (o *open) work(ctx context.Context, conn *connection) *connection {
	writer := o.campaign.Writer()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n := o.next.Add(1) - 1
		if n >= o.schedule.count() {
			return conn
		}
		due := o.began.Add(o.schedule.at(n))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return conn
		}
		conn = o.send(conn, writer, due)
	}
}

// send posts one webhook and gives the connection for the one after it.
func (o *open) send(conn *connection, writer *Writer, due time.Time) *connection {
	request := writer.Next()
	if o.campaign.sending != nil {
		o.campaign.sending(writer.serial)
	}
	sent := time.Now()
	a, err := conn.post(request)
	if err == nil && a.status == http.StatusOK && o.campaign.acked != nil {
		o.campaign.acked(writer.serial)
	}
	o.note(a, err, due, sent, time.Now())
	if err == nil && a.again {
		return conn
	}
	conn.close()
	fresh, err := dial(o.address, o.deadline)
	if err != nil {
		return conn // and what is sent over it fails
	}
	return fresh
}

func (o *open) note(a answer, err error, due, sent, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total.Late = max(o.total.Late, sent.Sub(due))
	if err != nil {
		o.total.fail(err)
		return
	}
	o.total.count(a, now.Sub(due), now.Sub(sent))
}
