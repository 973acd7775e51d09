package client

import "github.com/google/uuid"

// recentUIDs is how many events a repeat may lie back: after a resume no more
// come again than the server sent within about a second.
const recentUIDs = 1 << 16

// recent remembers the last uids seen, and forgets the oldest for a new one.
type recent struct {
	seen  map[uuid.UUID]struct{}
	order []uuid.UUID
	next  int
	limit int
}

func newRecent(limit int) *recent {
	return &recent{seen: make(map[uuid.UUID]struct{}), limit: limit}
}

func (r *recent) has(id uuid.UUID) bool {
	_, found := r.seen[id]
	return found
}

// add remembers an id that is not remembered yet.
func (r *recent) add(id uuid.UUID) {
	r.seen[id] = struct{}{}
	if len(r.order) < r.limit {
		r.order = append(r.order, id)
		return
	}
	delete(r.seen, r.order[r.next])
	r.order[r.next] = id
	r.next = (r.next + 1) % r.limit
}
