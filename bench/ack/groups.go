package ack

import (
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/ingest"
)

// groups hands webhooks that many append to one goroutine, all that wait as one
// group. There are never more of them than requests under way.
type groups struct {
	// write keeps a group, all of it or none; only run calls it.
	write   func([]pending) error
	done    chan struct{}
	records prometheus.Histogram
	answers sync.Pool // of chan error

	mu      sync.Mutex
	waiting []pending
	closed  bool
	wake    chan struct{} // has room for one
}

type pending struct {
	webhook *ingest.Webhook
	answer  chan error
}

func newGroups(write func([]pending) error, reg prometheus.Registerer) (*groups, error) {
	g := &groups{
		write: write,
		done:  make(chan struct{}),
		wake:  make(chan struct{}, 1),
		records: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: batchRecords, Help: "Records in one sync.", Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		answers: sync.Pool{New: func() any { return make(chan error, 1) }},
	}
	if err := reg.Register(g.records); err != nil {
		return nil, err
	}
	go g.run()
	return g, nil
}

// Append returns nil once the webhook's group is kept.
func (g *groups) Append(w *ingest.Webhook) error {
	answer := g.answers.Get().(chan error)
	defer g.answers.Put(answer)
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return os.ErrClosed
	}
	g.waiting = append(g.waiting, pending{w, answer})
	first := len(g.waiting) == 1
	g.mu.Unlock()
	if first {
		g.signal()
	}
	return <-answer
}

// Ready is always nil.
func (g *groups) Ready() error { return nil }

// CommitTime is not known.
func (g *groups) CommitTime() time.Duration { return 0 }

func (g *groups) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *groups) run() {
	defer close(g.done)
	var group []pending
	for {
		<-g.wake
		g.mu.Lock()
		group, g.waiting = g.waiting, group[:0]
		closed := g.closed
		g.mu.Unlock()
		if len(group) > 0 {
			err := g.write(group)
			g.records.Observe(float64(len(group)))
			for i := range group {
				group[i].answer <- err
			}
			clear(group)
		}
		if closed {
			return
		}
	}
}

// close waits for what is being written.
func (g *groups) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.signal()
	<-g.done
}
