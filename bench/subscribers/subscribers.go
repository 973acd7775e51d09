// Package subscribers opens many WebSockets to one server and reads them at the
// least possible cost, for they share the processors with what they measure.
//
//	handshakes (net) ──descriptor──▶ loop (epoll, one goroutine, one buffer) ──frames──▶ Parse ──▶ Round
//
// What comes is held against what was sent, exactly: each socket has a bit for
// each event of a Round, so that what is lost or doubled at one socket among
// thousands is found. It needs Linux.
package subscribers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Abnormal is the code of a connection that ended without a close frame, noStatus
// of a close frame without a code.
const (
	Abnormal = 1006
	noStatus = 1005
)

// Options say what is opened.
type Options struct {
	// Address is the server's host:port, Path the request's path and query.
	Address, Path string
	// Header is sent besides what every upgrade has.
	Header http.Header
	// First is the first message that is sent, as text; nil for none.
	First []byte
	// Ready tells the message that shows that a socket will get all that comes from
	// now on. It is called from several goroutines.
	Ready func(message []byte) bool
	// Dials is how many sockets are opened at a time, Loops how many goroutines
	// read; 0 for defaults.
	Dials, Loops int
}

const (
	defaultDials = 64
	// settle is how often a wait looks again.
	settle = 10 * time.Millisecond
)

// Closed is how many sockets closed with a code, and the reason of one of them.
type Closed struct {
	Count  int    `json:"count"`
	Reason string `json:"reason,omitempty"`
}

// Pool holds the sockets.
type Pool struct {
	options Options
	loops   []*loop
	running sync.WaitGroup
	next    atomic.Int64
	stuck   []net.Conn
}

// New makes a pool without sockets.
func New(o Options) (*Pool, error) {
	if o.Dials == 0 {
		o.Dials = defaultDials
	}
	if o.Loops == 0 {
		o.Loops = max(1, runtime.NumCPU()/2)
	}
	if o.Ready == nil {
		o.Ready = func([]byte) bool { return true }
	}
	p := &Pool{options: o}
	for range o.Loops {
		l, err := newLoop(&p.options)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.loops = append(p.loops, l)
		p.running.Go(l.run)
	}
	return p, nil
}

// Open opens as many sockets as are missing to n, and waits until all are ready.
func (p *Pool) Open(ctx context.Context, n int) error {
	err := p.dialAll(ctx, n-p.Sockets(), func(conn *net.TCPConn, early []byte) error {
		fd, err := detach(conn)
		if err != nil {
			return err
		}
		return p.loops[int(p.next.Add(1))%len(p.loops)].add(fd, early)
	}, false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		ready, open := p.states()
		if ready >= n {
			return nil
		}
		if open < n {
			return fmt.Errorf("%d of %d sockets closed again: %v", n-open, n, p.Closes())
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d sockets are ready: %w", ready, n, ctx.Err())
		}
	}
}

// OpenStuck opens sockets that are never read, besides those of Open.
func (p *Pool) OpenStuck(ctx context.Context, n int) error {
	var mu sync.Mutex
	return p.dialAll(ctx, n, func(conn *net.TCPConn, _ []byte) error {
		mu.Lock()
		defer mu.Unlock()
		p.stuck = append(p.stuck, conn)
		return nil
	}, true)
}

// CloseStuck closes what OpenStuck opened.
func (p *Pool) CloseStuck() {
	for _, conn := range p.stuck {
		_ = conn.Close() // the server may have closed it
	}
	p.stuck = nil
}

// dialAll opens n sockets, options.Dials at a time, up to the first that fails.
func (p *Pool) dialAll(ctx context.Context, n int, take func(*net.TCPConn, []byte) error, stuck bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	var taken atomic.Int64
	for range min(n, p.options.Dials) {
		group.Go(func() {
			for taken.Add(1) <= int64(n) && ctx.Err() == nil {
				conn, early, err := p.options.dial(ctx, stuck)
				if err == nil {
					err = take(conn, early)
				}
				if err != nil {
					cancel(fmt.Errorf("open socket: %w", err))
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// Sockets is how many are open, without those that are stuck.
func (p *Pool) Sockets() int {
	_, open := p.states()
	return open
}

func (p *Pool) states() (ready, open int) {
	for _, l := range p.loops {
		l.mu.Lock()
		ready, open = ready+l.ready, open+l.open
		l.mu.Unlock()
	}
	return ready, open
}

// Begin begins a round: what comes from now on counts for it.
func (p *Pool) Begin(r *Round) error {
	var errs []error
	for _, l := range p.loops {
		errs = append(errs, l.begin(r))
	}
	return errors.Join(errs...)
}

// Events is how many events of the round came so far, over all sockets.
func (p *Pool) Events() int64 {
	n := int64(0)
	for _, l := range p.loops {
		n += l.events()
	}
	return n
}

// Bytes is how many were read since the round began.
func (p *Pool) Bytes() int64 { return p.sum(false).Bytes }

// Count is what came in the round so far, and what is missing of it.
func (p *Pool) Count() *Count { return p.sum(true) }

func (p *Pool) sum(lost bool) *Count {
	c := &Count{Latency: newHistogram()}
	for _, l := range p.loops {
		l.snapshot(c, lost)
	}
	return c
}

// Closes are the sockets that closed since the round began, by code.
func (p *Pool) Closes() map[int]Closed {
	closes := map[int]Closed{}
	for _, l := range p.loops {
		l.mu.Lock()
		for code, c := range l.closes {
			all := closes[code]
			closes[code] = Closed{Count: all.Count + c.Count, Reason: cmp.Or(all.Reason, c.Reason)}
		}
		l.mu.Unlock()
	}
	return closes
}

// Close closes all sockets and waits for the loops.
func (p *Pool) Close() error {
	p.CloseStuck()
	for _, l := range p.loops {
		l.close()
	}
	p.running.Wait()
	var errs []error
	for _, l := range p.loops {
		errs = append(errs, l.free())
	}
	p.loops = nil
	return errors.Join(errs...)
}
