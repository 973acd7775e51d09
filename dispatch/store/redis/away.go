package redis

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// lookUpTimeout bounds what asks many partitions of a Cluster at once: a node
	// that hangs would hold up those that answer.
	lookUpTimeout = 2 * time.Second
	// probeInterval is the time between two tries of a partition that is away.
	probeInterval = time.Second
	// patience is how long a partition is waited for that has the contacts of
	// others' statuses: longer than a failover as a rule.
	patience = 10 * time.Second
)

var errAway = errors.New("the node of its partition does not answer")

// absence is whether a partition of a Cluster answers where many are asked at once.
// One that does not is asked once a probeInterval: the others need not wait for it
// each time.
type absence struct {
	mu    sync.Mutex
	since time.Time // zero where it answers
	probe time.Time
}

// asks reports whether to ask the partition now.
func (a *absence) asks(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since.IsZero() {
		return true
	}
	if now.Before(a.probe) {
		return false
	}
	a.probe = now.Add(probeInterval)
	return true
}

// noteAnswer notes whether a partition of a Cluster answered, unless who asked gave
// up.
func (s *Store) noteAnswer(ctx context.Context, partition int, err error) {
	if s.cfg.isCluster() && ctx.Err() == nil {
		s.partitions[partition].away.note(time.Now(), err)
	}
}

// note takes what a try came to.
func (a *absence) note(now time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.since = time.Time{}
	case a.since.IsZero():
		a.since, a.probe = now, now.Add(probeInterval)
	}
}

// long reports whether the partition has been away for longer than patience.
func (a *absence) long(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.since.IsZero() && now.Sub(a.since) > patience
}

// runPresent runs scripts, each of a partition, in one pipeline a server; errors are
// by script. In a Cluster those whose partition is away are not waited for.
func (s *Store) runPresent(parent context.Context, calls []*invocation, partitions []int) ([]any, []error) {
	if !s.cfg.isCluster() {
		return s.runAll(parent, calls)
	}
	ctx, cancel := context.WithTimeout(parent, lookUpTimeout)
	defer cancel()
	replies, errs := make([]any, len(calls)), make([]error, len(calls))
	var todo []*invocation
	var asked []int
	asks, now := make(map[int]bool), time.Now()
	for i, p := range partitions {
		if _, known := asks[p]; !known {
			asks[p] = s.partitions[p].away.asks(now)
		}
		if !asks[p] {
			errs[i] = errAway
			continue
		}
		todo, asked = append(todo, calls[i]), append(asked, i)
	}
	some, failed := s.runAll(ctx, todo)
	for n, i := range asked {
		replies[i], errs[i] = some[n], failed[n]
		s.noteAnswer(parent, partitions[i], failed[n])
	}
	return replies, errs
}
