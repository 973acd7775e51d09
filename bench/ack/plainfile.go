package ack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
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
	*groups
	file   *os.File
	buffer []byte // of write
}

// NewPlainFile makes the file; it must not exist.
func NewPlainFile(path string, reg prometheus.Registerer) (*PlainFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make plain file: %w", err)
	}
	p := &PlainFile{file: file}
	if p.groups, err = newGroups(p.write, reg); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return p, nil
}

func (p *PlainFile) write(group []pending) error {
	p.buffer = p.buffer[:0]
	for _, w := range group {
		p.buffer = binary.BigEndian.AppendUint32(p.buffer, uint32(len(w.webhook.Body)))
		p.buffer = append(append(p.buffer, w.webhook.Signature...), w.webhook.Body...)
	}
	if _, err := p.file.Write(p.buffer); err != nil {
		return fmt.Errorf("write plain file: %w", err)
	}
	if err := unix.Fdatasync(int(p.file.Fd())); err != nil {
		return fmt.Errorf("sync plain file: %w", err)
	}
	return nil
}

// Close waits for what is being written.
func (p *PlainFile) Close() error {
	p.close()
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
