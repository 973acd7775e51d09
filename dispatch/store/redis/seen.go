package redis

import (
	"time"

	"github.com/zeebo/xxh3"

	"spillway/dispatch/event"
)

// What was seen is kept as 64-bit hashes in many small sets, for Redis keeps a
// set of integers as one sorted array (an intset) up to set-max-intset-entries,
// 512 where nothing is set: 8 bytes an id and some 70 a set.
//
//	set     the partition, the day, and one of 1024 buckets
//	member  a signed 64-bit integer
//
// Bucket and member are of 128-bit hashes (xxh3): the member is the low half of
// the identity's, the bucket ten bits of the high half. A status takes its bucket
// from wamid and participant alone, so that one SMISMEMBER finds it and the
// statuses that would make it stale.
//
// A new event is taken for one that was seen where it has the partition, the day,
// the bucket and the member of another. With n ids a day a set holds n / (32 ·
// 1024), and each has the odds of 2⁻⁶⁴:
//
//	ids a day     in a set   an event     any event of a day
//	10 million    305        1.7 · 10⁻¹⁷  1.7 · 10⁻¹⁰
//	100 million   3052       1.7 · 10⁻¹⁶  1.7 · 10⁻⁸
//
// Such an event would be dropped as a duplicate; a status would be marked stale
// with up to three times these odds. The hash is not made against forgers, but
// all that is hashed came signed.
const (
	buckets = 1024
	day     = 24 * time.Hour
	// grace is how long beyond the window a day is kept.
	grace = 2 * day
	// hashVersion names the way from an event to its set and member.
	hashVersion = "xxh3-128/1"
)

// place is where an event's identity is kept.
type place struct {
	bucket int
	// members are the event's own, then those that make it stale.
	members [4]int64
	count   int
}

func placeOf(e *event.Event) (p place) {
	own := xxh3.HashString128(e.Identity)
	p.bucket, p.members[0], p.count = int(own.Hi%buckets), int64(own.Lo), 1
	if e.Status == nil {
		return p
	}
	p.bucket = int(statusHash(e.Status).Hi % buckets)
	for _, identity := range e.Status.Higher() {
		p.members[p.count] = int64(xxh3.HashString128(identity).Lo)
		p.count++
	}
	return p
}

func statusHash(s *event.Status) xxh3.Uint128 {
	if s.Participant == "" {
		return xxh3.HashString128(s.Wamid)
	}
	return xxh3.HashString128(s.Wamid + ":" + s.Participant)
}

// dayOf is the day in UTC, in days since 1970.
func dayOf(t time.Time) int { return int(max(t.Unix()/int64(day/time.Second), 0)) }

// dayName is a day as keys have it, 20260131.
func dayName(d int) string {
	return time.Unix(int64(d)*int64(day/time.Second), 0).UTC().Format("20060102")
}

// firstKeptDay is the oldest day that is not yet expired.
func firstKeptDay(now time.Time, window time.Duration) int { return dayOf(now.Add(-window-grace)) + 1 }

// expiry is when the sets of a day go, in Unix seconds: when the window and two
// days have passed since its beginning. What is applied so late that this is over
// stays two days, since EXPIREAT in the past would delete it at once.
func expiry(d int, window time.Duration, now time.Time) int64 {
	at := time.Unix(int64(d)*int64(day/time.Second), 0).Add(window + grace)
	return max(at.Unix(), now.Add(grace).Unix())
}

// daysOf appends the days under which an event can have been seen, its own first.
// latest is the last day that the partition has anything of. There are at most
// 100 of them: window and grace have 92 days.
func (s *Store) daysOf(days []int, e *event.Event, latest int) []int {
	at, isOwn := e.DedupeTime(s.cfg.Window)
	own := dayOf(at)
	days = append(days, own)
	first, last := own+1, own
	switch {
	case !isOwn:
		first, last = firstKeptDay(s.cfg.Now(), s.cfg.Window), latest
	case e.Status != nil && e.Status.Rank() > 0:
		// A later status may have come first, and have happened on a later day.
		last = min(max(own, dayOf(e.Received))+1, latest)
	}
	for d := first; d <= last; d++ {
		if d != own {
			days = append(days, d)
		}
	}
	return days
}
