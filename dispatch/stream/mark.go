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
//	1-PARTITION-MS-SEQ-MS-SEQ    the place of the event, then the watermark
//	1o-PARTITION-MS-SEQ          the place of the event, no watermark yet
//	0                            from the oldest event kept
//
// The watermark is the place up to which the sender had sent every partition
// before this event. One mark so resumes all partitions: its own exactly after
// the place, the others from the watermark, a little before where they were.
//
// The second form is of a reader who asked for the oldest and has not yet come to
// where all partitions are complete: the others start at their oldest again.
type mark struct {
	partition int
	place     store.Place
	watermark store.Place
	oldest    bool
}

// markMax is above the longest id: 62 bytes.
const markMax = 64

// maxPartition keeps the id short; no store comes near it.
const maxPartition = 1<<16 - 1

var errMark = errors.New("not an id of this stream")

// append writes the mark as text.
func (m mark) append(b []byte) []byte {
	b = append(b, '1')
	if m.oldest {
		b = append(b, 'o')
	}
	b = appendNumber(b, uint64(m.partition))
	b = appendNumber(appendNumber(b, m.place.Ms), m.place.Seq)
	if m.oldest {
		return b
	}
	return appendNumber(appendNumber(b, m.watermark.Ms), m.watermark.Seq)
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
	m := mark{oldest: version == "1o"}
	want := 5
	if m.oldest {
		want = 3
	}
	var numbers [5]uint64
	parts := strings.Split(rest, "-")
	if len(parts) != want {
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
