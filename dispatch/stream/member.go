package stream

import (
	"context"
	"time"

	"spillway/dispatch/store"
)

// level is where the hub is: it has handed out, or passed by, every event up to
// target in each partition, and all partitions are complete up to complete.
type level struct {
	target   []store.Place
	complete store.Place
	// back tells the partitions that went back since the socket last asked; nil
	// for none.
	back []bool
}

// enter makes the socket a member: the feed is followed from now on.
func (h *hub) enter(k *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.members) == 0 {
		close(h.occupied)
		h.vacant = make(chan struct{})
	}
	h.members[k] = nil
}

// leave takes the socket out; once it returns the hub does not wake it.
func (h *hub) leave(k *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, in := h.members[k]; !in {
		return
	}
	h.unregisterLocked(k)
	delete(h.members, k)
	if len(h.members) == 0 {
		close(h.vacant)
		h.occupied = make(chan struct{})
	}
}

// awaitMembers waits until there is a member; false where ctx ended.
func (h *hub) awaitMembers(ctx context.Context) bool {
	_, occupied := h.occupancy()
	select {
	case <-occupied:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// untilVacant returns when there has been no member for the time, or ctx ended.
func (h *hub) untilVacant(ctx context.Context, linger time.Duration) {
	for {
		vacant, _ := h.occupancy()
		select {
		case <-vacant:
		case <-ctx.Done():
			return
		}
		_, occupied := h.occupancy()
		timer := time.NewTimer(linger)
		select {
		case <-occupied:
			timer.Stop()
		case <-timer.C:
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (h *hub) occupancy() (vacant, occupied <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vacant, h.occupied
}

// wentBackLocked notes for every member what it has to read again, and for those to
// come up to which limit their ids are in doubt. The sets are shared and not changed.
func (h *hub) wentBackLocked(back []bool, limit store.Place) {
	for p := range back {
		if back[p] {
			h.lost[p] = later(h.lost[p], limit)
		}
	}
	for k, known := range h.members {
		h.members[k] = union(known, back)
	}
}

// union of two sets; nil is the empty one.
func union(a, b []bool) []bool {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	both := make([]bool, len(a))
	for i := range both {
		both[i] = a[i] || b[i]
	}
	return both
}

// lostAfter tells the partitions that went back since an id with that watermark was
// given out, or shortly before; nil for none.
func (h *hub) lostAfter(watermark store.Place) []bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	var back []bool
	for p, lost := range h.lost {
		if watermark.Compare(lost) < 0 {
			if back == nil {
				back = make([]bool, len(h.lost))
			}
			back[p] = true
		}
	}
	return back
}

// takeBackLocked gives what the member has to read again, once.
func (h *hub) takeBackLocked(k *socket) []bool {
	back := h.members[k]
	if back != nil {
		h.members[k] = nil
	}
	return back
}
