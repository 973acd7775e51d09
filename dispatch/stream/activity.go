package stream

import "time"

// The states of a writer.
const (
	// running: it has a goroutine, or is in the hands of the crew.
	running = iota
	// again: the same, and there is news since it last looked.
	again
	// parked: it is idle; wake hands it to the crew.
	parked
	// ended: it will not run again.
	ended
)

// wake lets the writer look what there is to do. It never waits.
func (k *socket) wake() {
	if k.rouse() {
		k.server.crew.add(0, 0, k)
	}
}

// rouse is the first half of wake; true where the crew has to look at the socket.
func (k *socket) rouse() bool {
	for {
		switch k.activity.Load() {
		case running:
			if !k.activity.CompareAndSwap(running, again) {
				continue
			}
			select {
			case k.signal <- struct{}{}:
			default:
			}
		case parked:
			if !k.activity.CompareAndSwap(parked, running) {
				continue
			}
			return true
		}
		return false
	}
}

// looks notes that the writer now looks what there is to do.
func (k *socket) looks() { k.activity.Store(running) }

// park ends the writer's turn, whose goroutine has to return at once; false where
// there is news.
func (k *socket) park() bool {
	k.arm()
	return k.activity.CompareAndSwap(running, parked)
}

// arm sees to it that the writer is woken when something is due.
func (k *socket) arm() {
	next := k.pingAt
	for _, at := range []time.Time{k.positionAt, k.expires, k.levelBy} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	now := time.Now()
	if k.timerAt.After(now) && !next.Before(k.timerAt) {
		return // it is woken in time to look again
	}
	k.timerAt = next
	if k.timer == nil {
		k.timer = time.AfterFunc(next.Sub(now), k.wake)
		return
	}
	k.timer.Reset(next.Sub(now))
}

// await waits until there may be something to do; true where it got something
// from c, or c is closed.
func (k *socket) await(c <-chan struct{}) bool {
	k.arm()
	select {
	case <-c:
		return true
	case <-k.signal:
		k.looks()
	case <-k.server.ctx.Done():
	}
	return false
}
