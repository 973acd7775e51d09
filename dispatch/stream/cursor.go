package stream

import (
	"encoding/binary"
	"errors"

	"github.com/zeebo/xxh3"

	"spillway/dispatch/store"
)

// errGap is returned where events were trimmed that a reader has not had.
var errGap = errors.New("events are gone that were not read")

// cursor is how far one reader is in every partition.
type cursor struct {
	// places are the last event handled of each partition, whether it was sent
	// or filtered out.
	places []store.Place
	// watermark: all events of all partitions up to here were handled.
	watermark store.Place

	// begun is nil but for a reader who asked for the oldest: the partitions it
	// has had an event of. Trimming costs the others nothing they were promised.
	begun []bool
	// skew is the latest place any partition was trimmed to when such a reader
	// began. Before it no watermark can tell what was sent from what was not kept.
	skew store.Place

	// back are the partitions that the hub saw going back; nil for none.
	back []bool
}

// after is the place to read a partition on from.
func (c *cursor) after(partition int) store.Place {
	return later(c.places[partition], c.watermark)
}

// advance notes that an event was handled, in the order of a merge of all
// partitions. complete bounds the watermark: beyond it events may yet appear.
func (c *cursor) advance(partition int, place, complete store.Place) {
	c.watermark = later(c.watermark, earlier(before(place), complete))
	c.places[partition] = place
	if c.begun != nil {
		c.begun[partition] = true
	}
}

// mark is the id of the event last handled in the partition.
func (c *cursor) mark(partition int) mark {
	m := mark{partition: partition, place: c.places[partition], watermark: c.watermark}
	return c.skewed(m)
}

// skewed adds what an id must say besides while partitions begin after the watermark.
func (c *cursor) skewed(m mark) mark {
	if c.watermark.Compare(c.skew) >= 0 {
		return m
	}
	m.form = skewedForm
	for p, place := range c.places {
		if p != m.partition && !c.begun[p] && place.Compare(c.watermark) > 0 {
			m.late ^= beginning(p, place)
		}
	}
	return m
}

// beginning is the hash of a partition and what it was trimmed to.
func beginning(partition int, trimmed store.Place) uint32 {
	var b [20]byte
	binary.BigEndian.PutUint32(b[:], uint32(partition))
	binary.BigEndian.PutUint64(b[4:], trimmed.Ms)
	binary.BigEndian.PutUint64(b[12:], trimmed.Seq)
	return uint32(xxh3.Hash(b[:]))
}

// position is the id of no event: all partitions from the watermark.
func (c *cursor) position() mark {
	return c.skewed(mark{place: c.after(0), watermark: c.watermark})
}

// reach notes that all partitions were handled up to their targets, and all
// that can be up to complete.
func (c *cursor) reach(target []store.Place, complete store.Place) {
	for p := range c.places {
		c.places[p] = later(c.places[p], target[p])
	}
	c.watermark = later(c.watermark, complete)
	if c.watermark.Compare(c.skew) >= 0 {
		c.begun, c.skew = nil, store.Place{}
	}
}

// trimmed notes what is no longer kept of a partition that is read on from
// after; errGap where the reader misses something by it.
func (c *cursor) trimmed(partition int, after, trimmed store.Place) error {
	if trimmed.Compare(after) <= 0 {
		return nil
	}
	if c.begun == nil || c.begun[partition] {
		return errGap
	}
	c.places[partition] = trimmed
	c.skew = later(c.skew, trimmed)
	return nil
}

// wentBack notes partitions that went back; nil for none.
func (c *cursor) wentBack(back []bool) { c.back = union(c.back, back) }

// stepBack takes a partition back to the watermark, for its stream ends before
// what was read of it, or did: of what stands after the watermark nothing is
// known, neither which events were lost nor which came since, under places that
// may be lower. A reader of the oldest who has no watermark yet begins the
// partition again.
func (c *cursor) stepBack(partition int, trimmed store.Place) {
	c.places[partition] = store.Place{}
	if c.begun != nil {
		c.places[partition] = trimmed
	}
}

// check finds a gap before anything is read, and a cursor of another store, and
// steps back where a stream did.
func (c *cursor) check(bounds []store.Bounds, limit store.Place) error {
	for p := range bounds {
		if c.places[p].Compare(limit) > 0 {
			return errMark
		}
	}
	back := c.back
	c.back = nil
	for p := range bounds {
		if c.places[p].Compare(bounds[p].Last) > 0 || back != nil && back[p] {
			c.stepBack(p, bounds[p].Trimmed)
		}
		if err := c.trimmed(p, c.after(p), bounds[p].Trimmed); err != nil {
			return err
		}
	}
	return nil
}

// resume is the cursor of a reader who comes back with an id, or with "0" for
// the oldest kept: errMark where no place of the id was ever given out, errGap
// where what came after it is no longer kept.
func resume(since string, bounds []store.Bounds, limit store.Place) (*cursor, error) {
	if since == "0" {
		return oldest(bounds), nil
	}
	m, err := parseMark(since)
	if err != nil {
		return nil, err
	}
	if m.partition >= len(bounds) || m.place.Compare(limit) > 0 || m.watermark.Compare(limit) > 0 {
		return nil, errMark
	}
	if m.form == oldestForm {
		return oldest(bounds), nil
	}
	c := &cursor{places: make([]store.Place, len(bounds)), watermark: m.watermark}
	c.places[m.partition] = m.place
	if m.form == skewedForm && !c.resumeSkewed(m, bounds) {
		return nil, errGap
	}
	return c, c.check(bounds, limit)
}

// resumeSkewed has the partitions that begin after the watermark start there; false
// where they are not those that began there, or not there, when the id was given.
func (c *cursor) resumeSkewed(m mark, bounds []store.Bounds) bool {
	c.begun = make([]bool, len(bounds))
	late := uint32(0)
	for p := range bounds {
		c.begun[p] = p == m.partition || bounds[p].Trimmed.Compare(m.watermark) <= 0
		if c.begun[p] {
			continue
		}
		late ^= beginning(p, bounds[p].Trimmed)
		c.places[p] = bounds[p].Trimmed
		c.skew = later(c.skew, bounds[p].Trimmed)
	}
	return late == m.late
}

func oldest(bounds []store.Bounds) *cursor {
	c := &cursor{places: make([]store.Place, len(bounds)), begun: make([]bool, len(bounds))}
	for p := range bounds {
		c.places[p] = bounds[p].Trimmed
		c.skew = later(c.skew, bounds[p].Trimmed)
	}
	return c
}

// oldestID is an id to resume from the oldest event kept, now or when it is used.
func oldestID(bounds []store.Bounds) string {
	m := mark{form: oldestForm}
	for p := range bounds {
		if t := bounds[p].Trimmed; t.Compare(m.place) > 0 {
			m.partition, m.place = p, t
		}
	}
	return m.String()
}
