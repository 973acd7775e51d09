package redis

import (
	"sync"
	"time"
)

// rearm is after how long a set is given its expiry again: whatever became of it
// meanwhile, it does not stay for ever.
const rearm = time.Hour

// days remembers of one partition the names of its sets, and which of them were
// given an expiry. A set that is new gets one with its first member; that it is
// new is known only to Redis, so the first batch a process brings to a set does
// it, and again where the store was found to have lost something.
type days struct {
	keys *partitionKeys

	mu     sync.Mutex
	latest int
	byDay  map[int]*daySets
}

// daySets are the sets of one day.
type daySets struct {
	keys  [buckets]string
	armed [buckets]bool
	since time.Time
}

func newDays(keys *partitionKeys) *days { return &days{keys: keys, byDay: make(map[int]*daySets)} }

// known is the latest day the partition is known to have anything of.
func (d *days) known() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

func (d *days) learn(latest int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = max(d.latest, latest)
}

// key is the name of a set, and whether it has an expiry. now is the time, oldest
// the first day that is kept: those before it are forgotten.
func (d *days) key(dayNumber, bucket int, now time.Time) (key *string, armed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sets := d.byDay[dayNumber]
	if sets == nil {
		sets = &daySets{since: now}
		d.byDay[dayNumber] = sets
	}
	if now.Sub(sets.since) >= rearm {
		sets.armed, sets.since = [buckets]bool{}, now
	}
	if sets.keys[bucket] == "" {
		sets.keys[bucket] = d.keys.seenKey(dayNumber, bucket)
	}
	return &sets.keys[bucket], sets.armed[bucket]
}

// arm notes that sets have their expiry.
func (d *days) arm(sets []armed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range sets {
		if s := d.byDay[a.day]; s != nil {
			s.armed[a.bucket] = true
		}
	}
}

// armed is a set that was given its expiry, and for which event of the batch.
type armed struct{ day, bucket, event int }

// disarm forgets all expiries: the store lost something.
func (d *days) disarm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sets := range d.byDay {
		sets.armed = [buckets]bool{}
	}
}

// forget drops the days before first.
func (d *days) forget(first int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.byDay {
		if n < first {
			delete(d.byDay, n)
		}
	}
}
