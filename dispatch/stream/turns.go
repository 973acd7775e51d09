package stream

import "sync/atomic"

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
