package stream

import (
	"errors"
	"strconv"
	"strings"

	"spillway/dispatch/store"
)

// mark is what an id says. Ids are opaque to their readers; as text they are
// unreserved ASCII, at most markMax bytes, every number in base 36:
//
//	1-PARTITION-MS-SEQ-MS-SEQ          the place of the event, then the watermark
//	1s-PARTITION-MS-SEQ-MS-SEQ-HASH    and which partitions begin after the watermark
//	1o-PARTITION-MS-SEQ                from the oldest event kept, wherever that is
//	0                                  the same
//
// The watermark is the place up to which the sender had sent every partition
// before this event. One mark so resumes all partitions: its own exactly after
// the place, the others from the watermark, a little before where they were.
//
// The second form is of a reader who asked for the oldest and has not yet come to
// where all partitions begin, which is at different places: those that begin after
// the watermark start at their oldest again. The hash tells whether it is the oldest
// that it was: else something is gone that stood after the event. The third form is
// what a refused reader is given; its place is no more than a sign of where that is.
type mark struct {
	partition int
	place     store.Place
	watermark store.Place
	form      form
	// late is the hash of the partitions that begin after the watermark, and of where.
	late uint32
}

// form is what follows the version of an id.
type form string

const (
	plainForm  form = ""
	skewedForm form = "s"
	oldestForm form = "o"
)

// numbers is how many numbers an id of the form has, -1 where there is no such form.
func (f form) numbers() int {
	switch f {
	case plainForm:
		return 5
	case skewedForm:
		return 6
	case oldestForm:
		return 3
	}
	return -1
}

// markMax is above the longest id: 71 bytes.
const markMax = 72

// maxPartition keeps the id short; no store comes near it.
const maxPartition = 1<<16 - 1

var errMark = errors.New("not an id of this stream")

// append writes the mark as text.
func (m mark) append(b []byte) []byte {
	b = append(b, '1')
	b = append(b, m.form...)
	b = appendNumber(b, uint64(m.partition))
	b = appendNumber(appendNumber(b, m.place.Ms), m.place.Seq)
	if m.form == oldestForm {
		return b
	}
	b = appendNumber(appendNumber(b, m.watermark.Ms), m.watermark.Seq)
	if m.form == skewedForm {
		b = appendNumber(b, uint64(m.late))
	}
	return b
}

func appendNumber(b []byte, n uint64) []byte {
	return strconv.AppendUint(append(b, '-'), n, 36)
}

func (m mark) String() string { return string(m.append(make([]byte, 0, markMax))) }

// parseMark reads what append wrote, and nothing else.
func parseMark(s string) (mark, error) {
	if len(s) > markMax {
		return mark{}, errMark
	}
	version, rest, _ := strings.Cut(s, "-")
	m := mark{form: form(strings.TrimPrefix(version, "1"))}
	var numbers [6]uint64
	parts := strings.Split(rest, "-")
	if len(parts) != m.form.numbers() {
		return mark{}, errMark
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 36, 64)
		if err != nil {
			return mark{}, errMark
		}
		numbers[i] = n
	}
	if numbers[0] > maxPartition {
		return mark{}, errMark
	}
	m.partition = int(numbers[0])
	m.place = store.Place{Ms: numbers[1], Seq: numbers[2]}
	m.watermark = store.Place{Ms: numbers[3], Seq: numbers[4]}
	m.late = uint32(numbers[5])
	// One mark has one text: capitals, signs and leading zeros are not ours, and
	// neither is another version.
	if m.String() != s {
		return mark{}, errMark
	}
	return m, nil
}

// before is the last place that stands before p.
func before(p store.Place) store.Place {
	switch {
	case p.Seq > 0:
		return store.Place{Ms: p.Ms, Seq: p.Seq - 1}
	case p.Ms > 0:
		return store.Place{Ms: p.Ms - 1, Seq: ^uint64(0)}
	}
	return p
}

func later(p, q store.Place) store.Place {
	if p.Compare(q) < 0 {
		return q
	}
	return p
}

func earlier(p, q store.Place) store.Place {
	if p.Compare(q) < 0 {
		return p
	}
	return q
}
