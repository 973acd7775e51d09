package deliver

import (
	"time"

	"spillway/dispatch/store"
)

// A share holds this many events of the stream at most, of about so many bytes.
const (
	windowEvents = 128
	windowBytes  = 256 << 10
)

// itemState is how far a share is with an event of its window.
type itemState uint8

const (
	// waiting to be sent.
	waiting itemState = iota
	// underWay: a worker has it.
	underWay
	// over: delivered, or not for the endpoint.
	over
	// toPark and toBury: the store is to be told.
	toPark
	toBury
)

// item is an event of a share's window.
type item struct {
	entry   store.Entry
	contact uint64
	state   itemState
	// after is the event of the same contact before it, where order is kept.
	after *item
	// first, due and attempts are of one to park; reason of one to bury.
	first, due time.Time
	attempts   uint32
	reason     string
}

// settled reports whether the store can be told what came of it.
func (i *item) settled() bool { return i.state >= over }

// window is what a share has read of its stream and not settled, in order.
type window struct {
	items []*item
	// base is the number of the first, from the first of the share on.
	base int64
	// last is the last event of each contact in the window, where order is kept.
	last map[uint64]*item
}

func newWindow() window { return window{last: make(map[uint64]*item)} }

func (w *window) room() int { return windowEvents - len(w.items) }

// add adds an event; held is true where it must wait for what is parked.
func (w *window) add(i *item, ordered, held bool) {
	w.items = append(w.items, i)
	if i.settled() || !ordered || i.contact == 0 {
		return
	}
	i.after = w.last[i.contact]
	w.last[i.contact] = i
	if held {
		i.park(time.Time{}, time.Time{}, 0)
	}
}

// park has it parked.
func (i *item) park(first, due time.Time, attempts uint32) {
	i.state, i.first, i.due, i.attempts = toPark, first, due, attempts
}

// next gives the number of the first event that can be sent. What has to wait for
// one that is parked is parked, too.
func (w *window) next() (number int64, ok bool) {
	for n, i := range w.items {
		if i.state != waiting {
			continue
		}
		switch {
		case i.after == nil || i.after.state == over || i.after.state == toBury:
			return w.base + int64(n), true
		case i.after.state == toPark:
			i.park(time.Time{}, time.Time{}, 0)
		}
	}
	return 0, false
}

func (w *window) at(number int64) *item { return w.items[number-w.base] }

// parkAll parks all that wait, until due.
func (w *window) parkAll(due time.Time) {
	for _, i := range w.items {
		if i.state == waiting {
			i.park(time.Time{}, due, 0)
		}
	}
}

// settled is how many events at the front are settled.
func (w *window) settled() int {
	for n, i := range w.items {
		if !i.settled() {
			return n
		}
	}
	return len(w.items)
}

// drop forgets the first n, which the store was told of.
func (w *window) drop(n int) {
	for _, i := range w.items[:n] {
		i.after = nil
		if i.contact != 0 && w.last[i.contact] == i {
			delete(w.last, i.contact)
		}
	}
	w.items = append(w.items[:0], w.items[n:]...)
	w.base += int64(n)
}
