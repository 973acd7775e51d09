package ack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"spillway/ingest"
)

// PlainFile is the least that can be called a durable log, to measure against:
// webhooks are appended to one file, all that wait with one write and one
// fdatasync. It can neither be read back nor trimmed, and the order of lanes,
// times and places are not kept.
type PlainFile struct {
	file    *os.File
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

// NewPlainFile makes the file; it must not exist.
func NewPlainFile(path string, reg prometheus.Registerer) (*PlainFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make plain file: %w", err)
	}
	p := &PlainFile{
		file: file,
		done: make(chan struct{}),
		wake: make(chan struct{}, 1),
		records: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: batchRecords, Help: "Records in one sync.", Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		answers: sync.Pool{New: func() any { return make(chan error, 1) }},
	}
	if err := reg.Register(p.records); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	go p.run()
	return p, nil
}

// Append returns nil once the webhook is synced.
func (p *PlainFile) Append(w *ingest.Webhook) error {
	answer := p.answers.Get().(chan error)
	defer p.answers.Put(answer)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return os.ErrClosed
	}
	p.waiting = append(p.waiting, pending{w, answer})
	first := len(p.waiting) == 1
	p.mu.Unlock()
	if first {
		p.signal()
	}
	return <-answer
}

// Ready is always nil.
func (p *PlainFile) Ready() error { return nil }

// CommitTime is not known.
func (p *PlainFile) CommitTime() time.Duration { return 0 }

func (p *PlainFile) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *PlainFile) run() {
	defer close(p.done)
	var group []pending
	var buffer []byte
	for {
		<-p.wake
		p.mu.Lock()
		group, p.waiting = p.waiting, group[:0]
		closed := p.closed
		p.mu.Unlock()
		if len(group) > 0 {
			buffer = buffer[:0]
			for _, w := range group {
				buffer = binary.BigEndian.AppendUint32(buffer, uint32(len(w.webhook.Body)))
				buffer = append(append(buffer, w.webhook.Signature...), w.webhook.Body...)
			}
			err := p.write(buffer)
			p.records.Observe(float64(len(group)))
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

func (p *PlainFile) write(buffer []byte) error {
	if _, err := p.file.Write(buffer); err != nil {
		return fmt.Errorf("write plain file: %w", err)
	}
	if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
		return fmt.Errorf("sync plain file: %w", err)
	}
	return nil
}

// Close waits for what is being written.
func (p *PlainFile) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.signal()
	<-p.done
	return p.file.Close()
}

// NoLog keeps nothing and acks at once.
type NoLog struct{}

// Append is always nil.
func (NoLog) Append(*ingest.Webhook) error { return nil }

// Ready is always nil.
func (NoLog) Ready() error { return nil }

// CommitTime is always 0.
func (NoLog) CommitTime() time.Duration { return 0 }
