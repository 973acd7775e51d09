package stream

import (
	"sync"
	"sync/atomic"
)

// turns hands out the right to read from the store to so many sockets at once.
type turns struct {
	// free holds one token for each turn that is free.
	free    chan struct{}
	waiting atomic.Int64
}

func newTurns(n int) *turns {
	t := &turns{free: make(chan struct{}, n)}
	for range n {
		t.free <- struct{}{}
	}
	return t
}

func (t *turns) try() bool {
	select {
	case <-t.free:
		return true
	default:
		return false
	}
}

func (t *turns) release() { t.free <- struct{}{} }

// wanted reports whether somebody waits for a turn.
func (t *turns) wanted() bool { return t.waiting.Load() > 0 }

// lease is the turn of one holder. It ends once: when its holder is done, or
// meanwhile, where the holder is stuck in a write and others must not wait for it.
type lease struct {
	turns *turns
	// drop frees what the holder keeps in memory for the turn; nil for nothing.
	drop func()

	mu   sync.Mutex
	over bool
}

func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	if l.drop != nil {
		l.drop()
	}
	l.turns.release()
}

func (l *lease) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}
