package embedded

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// What was seen is kept as a hash under the day of the event:
//
//	key   'S' day(2, since 1970) hash(16, xxh3-128)
//	value mask(1)
//
// An identity has a key of its own, mask seenBit. The ranked statuses of a
// message, or of one participant of a group, share one: bit rank-1 for each that
// was seen, so that one look tells both duplicate and stale.
//
// With 2·10⁸ keys kept, the odds that a new event is taken for one of them are
// 2·10⁸ / 2¹²⁸, under 10⁻³⁰; over 10¹² events under 10⁻¹⁸. The hash is not made
// against forgers, but all that is hashed came signed.
const (
	seenBit       = 0x80
	seenKeyLength = 1 + 2 + 16

	// The seeds keep a status's key apart from an identity that reads the same.
	identitySeed = 0
	statusSeed   = 1

	day = 24 * time.Hour
	// grace is how long beyond the window a day is kept.
	grace = 2 * day
)

type seenKey [seenKeyLength]byte

func makeSeenKey(d uint16, hash xxh3.Uint128) (k seenKey) {
	k[0] = tagSeen
	binary.BigEndian.PutUint16(k[1:], d)
	binary.BigEndian.PutUint64(k[3:], hash.Hi)
	binary.BigEndian.PutUint64(k[11:], hash.Lo)
	return k
}

// seenDayKey is where the keys of a day begin.
func seenDayKey(d uint16) []byte { return binary.BigEndian.AppendUint16([]byte{tagSeen}, d) }

// dayOf is the day in UTC, in days since 1970.
func dayOf(t time.Time) uint16 {
	return uint16(min(max(t.Unix()/int64(day/time.Second), 0), math.MaxUint16))
}

// eventDay is the day an event is remembered under: that of its DedupeTime. Where
// that is not its own, a redelivery may stand under any day that is kept.
func eventDay(e *event.Event, window time.Duration) (d uint16, own bool) {
	at, own := e.DedupeTime(window)
	return dayOf(at), own
}

// firstKeptDay is the oldest day that is not yet expired: a day goes when the
// window and two days have passed since its beginning.
func firstKeptDay(now time.Time, window time.Duration) uint16 {
	return dayAfter(dayOf(now.Add(-window - grace)))
}

// seen answers for one partition what was seen. It is used by one Apply at a
// time, which adds what it sees itself.
type seen struct {
	stored lookup
	// days are those that may hold keys of this partition, ascending.
	days []uint16
	// added is what the running Apply has seen and not yet committed.
	added map[seenKey]byte
}

// judge says what becomes of the event and remembers it.
func (s *seen) judge(e *event.Event, window time.Duration) (store.Outcome, error) {
	d, own := eventDay(e, window)
	s.ensureDay(d)
	days := s.days
	if e.Status != nil {
		if rank := e.Status.Rank(); rank > 0 {
			if own {
				days = s.between(d, dayAfter(max(d, dayOf(e.Received))))
			}
			return s.judgeRanked(e.Status, rank, d, days)
		}
	}
	if own {
		days = s.between(d, d)
	}
	hash := xxh3.HashString128Seed(e.Identity, identitySeed)
	for _, look := range days {
		mask, err := s.get(makeSeenKey(look, hash))
		if err != nil {
			return 0, err
		}
		if mask != 0 {
			return store.Duplicate, nil
		}
	}
	s.added[makeSeenKey(d, hash)] = seenBit
	return store.Fresh, nil
}

func (s *seen) judgeRanked(status *event.Status, rank int, d uint16, days []uint16) (store.Outcome, error) {
	hash := statusHash(status)
	var all, atDay byte
	for _, look := range days {
		mask, err := s.get(makeSeenKey(look, hash))
		if err != nil {
			return 0, err
		}
		all |= mask
		if look == d {
			atDay = mask
		}
	}
	bit := byte(1) << (rank - 1)
	if all&bit != 0 {
		return store.Duplicate, nil
	}
	s.added[makeSeenKey(d, hash)] = atDay | bit
	if all > bit {
		return store.Stale, nil
	}
	return store.Fresh, nil
}

func statusHash(s *event.Status) xxh3.Uint128 {
	if s.Participant == "" {
		return xxh3.HashString128Seed(s.Wamid, statusSeed)
	}
	return xxh3.HashString128Seed(s.Wamid+":"+s.Participant, statusSeed)
}

func (s *seen) get(k seenKey) (byte, error) {
	if mask, ok := s.added[k]; ok {
		return mask, nil
	}
	v, err := s.stored.get(k[:])
	if err != nil {
		return 0, fmt.Errorf("read seen: %w", err)
	}
	if v == nil {
		return 0, nil
	}
	if len(v) != 1 {
		return 0, fmt.Errorf("read seen: %w", errMalformed)
	}
	return v[0], nil
}

// write puts what was added into the batch.
func (s *seen) write(b *pebble.Batch) error {
	for k, mask := range s.added {
		op := b.SetDeferred(seenKeyLength, 1)
		copy(op.Key, k[:])
		op.Value[0] = mask
		if err := op.Finish(); err != nil {
			return fmt.Errorf("write seen: %w", err)
		}
	}
	return nil
}

func (s *seen) ensureDay(d uint16) {
	if i, found := slices.BinarySearch(s.days, d); !found {
		s.days = slices.Insert(s.days, i, d)
	}
}

// between gives the days from first to last, both included.
func (s *seen) between(first, last uint16) []uint16 {
	i, _ := slices.BinarySearch(s.days, first)
	j, found := slices.BinarySearch(s.days, last)
	if found {
		j++
	}
	return s.days[i:j]
}

// expire forgets the days before first; their keys are deleted apart.
func (s *seen) expire(first uint16) {
	i, _ := slices.BinarySearch(s.days, first)
	s.days = slices.Delete(s.days, 0, i)
}

// dayAfter is the day after d.
func dayAfter(d uint16) uint16 {
	if d == math.MaxUint16 {
		return d
	}
	return d + 1
}

// loadDays lists the days that hold keys.
func loadDays(db *pebble.DB) ([]uint16, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{tagSeen}, UpperBound: []byte{tagSeen + 1}})
	if err != nil {
		return nil, fmt.Errorf("read seen days: %w", err)
	}
	defer func() { _ = it.Close() }()
	var days []uint16
	for ok := it.First(); ok; {
		if len(it.Key()) != seenKeyLength {
			return nil, fmt.Errorf("read seen days: %w", errMalformed)
		}
		d := binary.BigEndian.Uint16(it.Key()[1:])
		days = append(days, d)
		if d == math.MaxUint16 {
			break
		}
		ok = it.SeekGE(seenDayKey(d + 1))
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("read seen days: %w", err)
	}
	return days, nil
}
