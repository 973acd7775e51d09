package dispatch

import (
	"context"
	"sync"

	"spillway/wal"
)

// expressShare is how many turns express may take in a row while bulk waits.
const expressShare = 4

// turns lets one drainer decode at a time, express before bulk, but bulk at
// least once in expressShare+1 turns, so that it is never starved.
type turns struct {
	mu      sync.Mutex
	busy    bool
	streak  int
	waiting [len(wal.Lanes)][]chan struct{}
}

func newTurns() *turns { return &turns{} }

// take waits for a turn; the caller gives it back with done. It fails only with
// ctx's error.
func (t *turns) take(ctx context.Context, lane wal.Lane) error {
	t.mu.Lock()
	if !t.busy {
		t.busy = true
		t.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	t.waiting[lane] = append(t.waiting[lane], granted)
	t.mu.Unlock()
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range t.waiting[lane] {
		if c == granted {
			t.waiting[lane] = append(t.waiting[lane][:i], t.waiting[lane][i+1:]...)
			return ctx.Err()
		}
	}
	t.passLocked() // the turn was granted meanwhile
	return ctx.Err()
}

func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passLocked()
}

func (t *turns) passLocked() {
	lane, ok := t.nextLocked()
	if !ok {
		t.busy = false
		return
	}
	close(t.waiting[lane][0])
	t.waiting[lane] = t.waiting[lane][1:]
}

func (t *turns) nextLocked() (wal.Lane, bool) {
	express, bulk := len(t.waiting[wal.Express]) > 0, len(t.waiting[wal.Bulk]) > 0
	switch {
	case express && (!bulk || t.streak < expressShare):
		if bulk {
			t.streak++
		}
		return wal.Express, true
	case bulk:
		t.streak = 0
		return wal.Bulk, true
	}
	return 0, false
}
