package stream

import (
	"slices"
	"sync"
	"time"
)

// stall is a write of a socket that catches up, once it has taken longer than a
// turn. The socket loses the turn then, for a reader that stands still must not keep
// others waiting.
type stall struct {
	outlet *outlet
	bytes  int64

	mu           sync.Mutex
	begun, ended bool
}

// begin is called after turnTime.
func (s *stall) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.begun = true
	s.outlet.lease.end()
	s.outlet.socket.server.stalls.add(s)
}

// end is called when the write is over.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.begun {
		s.outlet.socket.server.stalls.remove(s)
	}
}

// stalls bounds the memory that stalled writes hold: one event may have megabytes.
// Where it is too much, those that have taken longest lose their connections, to
// come back.
type stalls struct {
	most int64 // bytes

	mu    sync.Mutex
	held  int64
	order []*stall
}

func (l *stalls) add(s *stall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held += s.bytes
	l.order = append(l.order, s)
	for l.held > l.most {
		first := l.order[0]
		l.held -= first.bytes
		l.order = l.order[1:]
		_ = first.outlet.socket.conn.SetWriteDeadline(time.Now())
	}
}

func (l *stalls) remove(s *stall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.order, s); i >= 0 {
		l.order = slices.Delete(l.order, i, i+1)
		l.held -= s.bytes
	}
}
