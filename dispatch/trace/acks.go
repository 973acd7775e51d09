package trace

import (
	"sync/atomic"
	"time"
)

// acks remembers for how long webhooks waited for their acks, the last ones of some
// thousands: it is told them before it is known what events they hold. A webhook is
// known by its time of receipt, in nanoseconds, which the log keeps.
//
// A slot has the upper half of the hash of that time, then the wait in microseconds.
type acks [1 << 14]atomic.Uint64

// slot is where a webhook belongs, and how it is told from others there.
func (a *acks) slot(received time.Time) (slot *atomic.Uint64, tag uint64) {
	const golden = 0x9e3779b97f4a7c15 // spreads times that follow one another
	hash := uint64(received.UnixNano()) * golden
	return &a[hash>>32%uint64(len(a))], hash &^ (1<<32 - 1)
}

func (a *acks) put(received, acked time.Time) {
	slot, tag := a.slot(received)
	slot.Store(tag | uint64(min(max(acked.Sub(received).Microseconds(), 0), 1<<32-1)))
}

// get gives when a webhook was acked; false where that is not known, or no longer.
func (a *acks) get(received time.Time) (time.Time, bool) {
	slot, tag := a.slot(received)
	value := slot.Load()
	if value>>32 != tag>>32 {
		return time.Time{}, false
	}
	return received.Add(time.Duration(value&(1<<32-1)) * time.Microsecond), true
}

// Acked notes that a webhook, received then, is in the log.
func (t *Tracer) Acked(received time.Time) { t.acks.put(received, time.Now()) }
