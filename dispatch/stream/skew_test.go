package stream

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// skewedFeed has two partitions of which the second begins later.
func skewedFeed() *memoryFeed {
	feed := newMemoryFeed(2)
	for range 10 {
		feed.add(0, "message:new", `{}`)
	}
	for range 10 {
		feed.add(1, "message:new", `{}`) // from 1011
	}
	feed.trim(1, 4)
	return feed
}

// TestSkewedIDTellsOfTrimming: the id of a reader of the oldest is refused once
// something is gone that stood after it, and only then.
func TestSkewedIDTellsOfTrimming(t *testing.T) {
	tests := map[string]struct {
		trim    func(*memoryFeed)
		refused bool
	}{
		"nothing trimmed":               {func(*memoryFeed) {}, false},
		"what it had":                   {func(f *memoryFeed) { f.trim(0, 3) }, false},
		"what it had, to its own place": {func(f *memoryFeed) { f.trim(0, 5) }, false},
		"its own partition":             {func(f *memoryFeed) { f.trim(0, 6) }, true},
		"one that it had not begun":     {func(f *memoryFeed) { f.trim(1, 1) }, true},
	}
	for name, test := range tests {
		feed := skewedFeed()
		r := newRig(t, feed, nil)
		p := r.open("since=0")
		var last message
		for range 5 {
			last = p.event()
		}
		if m, err := parseMark(last.ID); err != nil || m.form != skewedForm {
			t.Fatalf("%s: the id %q is not of the form that the test is about (%v)", name, last.ID, err)
		}
		test.trim(feed)
		again := r.open("since=" + last.ID)
		if test.refused {
			r.open("since=" + again.wantClose(CodeSince)).event()
			continue
		}
		if m, err := parseMark(again.event().ID); err != nil || m.place != (store.Place{Ms: 1006, Seq: 1}) {
			t.Errorf("%s: goes on at %+v, %v", name, m.place, err)
		}
		for range 10 {
			again.event()
		}
		again.live()
	}
}

// trimmingFeed trims a partition once, after it was read so often.
type trimmingFeed struct {
	*memoryFeed
	after func(reads int)
}

func (f *trimmingFeed) Read(ctx context.Context, p int, after store.Place, limit, maxBytes int) ([]store.Entry, error) {
	entries, err := f.memoryFeed.Read(ctx, p, after, limit, maxBytes)
	f.after(f.reads)
	return entries, err
}

// TestTrimmedBeforeItBegan: what a reader of the oldest has in hand of a partition
// that it has not begun is dropped where trimming went past it: there is a gap
// behind it. One that it has begun is a gap that is told.
func TestTrimmedBeforeItBegan(t *testing.T) {
	feed := newMemoryFeed(2)
	for range 8 {
		feed.add(0, "message:new", `{}`)
	}
	var kept []uuid.UUID
	for range 8 {
		kept = append(kept, feed.add(1, "message:new", `{}`).UID)
	}
	kept = kept[5:]
	trimming := &trimmingFeed{memoryFeed: feed, after: func(reads int) {
		if reads == 4 { // each was read twice: partition 1 up to 1012
			feed.trim(1, 5)
		}
	}}
	bounds, _, err := feed.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMerge(t.Context(), trimming, oldest(bounds), []store.Place{bounds[0].Last, bounds[1].Last}, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.limit, m.maxBytes = 8, 4 // two entries of two bytes
	var last store.Place
	for {
		p, e, err := m.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		if e.Place.Compare(last) <= 0 {
			t.Errorf("%+v after %+v", e.Place, last)
		}
		last = e.Place
		m.cursor.advance(p, e.Place, bounds[1].Last)
		if p == 0 {
			continue
		}
		if len(kept) == 0 || e.UID != kept[0] {
			t.Fatalf("the event at %+v was handed out, and not what is kept", e.Place)
		}
		kept = kept[1:]
	}
	if len(kept) > 0 {
		t.Errorf("%d events that are kept are missing", len(kept))
	}
	if _, err := newMerge(t.Context(), feed, &cursor{
		places: []store.Place{{}, {Ms: 1010, Seq: 1}}, begun: []bool{true, true},
	}, []store.Place{bounds[0].Last, bounds[1].Last}, 1); !errors.Is(err, errGap) {
		t.Errorf("a gap in a partition that was begun: %v", err)
	}
}
