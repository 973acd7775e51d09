package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
	"spillway/dispatch/stream"
)

// spot is where an event stands, taken from its id: a reader must not look into
// ids, but this one is to tell whether a refusal was right.
type spot struct {
	partition        int
	place, watermark [2]uint64
	skewed           bool // partitions that it had not begun were trimmed beyond the watermark
}

func (s spot) before(other spot) bool { return slices.Compare(s.place[:], other.place[:]) < 0 }

// covers reports whether one who comes back with the id says to have had the event.
func (s spot) covers(e spot) bool {
	if e.partition == s.partition && !s.before(e) {
		return true
	}
	return slices.Compare(e.place[:], s.watermark[:]) <= 0
}

func parseSpot(t testing.TB, id string) (s spot) {
	t.Helper()
	parts := strings.Split(id, "-")
	var numbers [6]uint64
	for i, part := range parts[1:] {
		n, err := strconv.ParseUint(part, 36, 64)
		if err != nil {
			t.Fatalf("id %q: %v", id, err)
		}
		numbers[i] = n
	}
	return spot{
		partition: int(numbers[0]), place: [2]uint64(numbers[1:3]), watermark: [2]uint64(numbers[3:5]),
		skewed: parts[0] == "1s",
	}
}

// answer is what a connection with an id brings until it is level, or how it is
// refused. The load has ended.
func (f *fleet) answer(since string) (uids []string, refused string) {
	f.t.Helper()
	r := f.newReader("one that asks", since)
	conn, _, err := websocket.DefaultDialer.DialContext(f.t.Context(), r.address(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(rigPatience))
	r.begin()
	for {
		_, data, err := conn.ReadMessage()
		var end *websocket.CloseError
		if errors.As(err, &end) && end.Code == stream.CodeSince {
			return nil, end.Text
		}
		if err != nil {
			f.t.Fatal(err)
		}
		before := len(r.ids)
		r.hear(data)
		if len(r.ids) == before { // a position: it is level
			break
		}
	}
	for _, fault := range r.faults {
		f.t.Errorf("since %q: %v", since, fault)
	}
	return slices.SortedFunc(maps.Keys(r.seen), func(a, b string) int { return r.seen[a] - r.seen[b] }), ""
}

// kept is what since=0 brings, once trimming is through.
func (f *fleet) kept() map[string]bool {
	f.t.Helper()
	var before []string
	for {
		now, refused := f.answer("0")
		if refused != "" {
			f.t.Fatalf("since=0 is refused with %q", refused)
		}
		if slices.Equal(before, now) && len(now) > 0 {
			set := make(map[string]bool)
			for _, uid := range now {
				set[uid] = true
			}
			return set
		}
		before = now
		time.Sleep(200 * time.Millisecond)
	}
}

// testTrim reads while the streams are trimmed, and compares with what was posted:
// nobody has a gap that it was not told of. Then, in the quiet, it asks with ids of
// all ages: exactly those are refused after which something is gone.
func testTrim(t *testing.T, receivers int, env ...string) {
	f := newFleet(t, receivers, append(env, "SPILLWAY_STREAM_RETAIN=800", "SPILLWAY_REDIS_PARTITIONS=8")...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	recorder := f.newReader("always live", "0")
	readers := []*reader{recorder}
	for i := range 3 {
		readers = append(readers, f.newReader(fmt.Sprint("sometimes ", i), "0"))
	}
	messages := func(p posted) bool { return p.kind == event.MessageNew }
	readers = append(readers, f.newReader("messages sometimes", "0").narrow("events=message:new", messages))
	for _, r := range readers[1:] {
		r.leaps = true
		r.every = func() int { return 1 + rand.IntN(300) }
		r.naps = func() time.Duration { return time.Duration(rand.IntN(4)) * 500 * time.Millisecond }
	}
	zeros := f.newReader("from the oldest, over and over", "0")
	zeros.leaps, zeros.always = true, "0"
	zeros.every = func() int { return 1 + rand.IntN(1500) }
	for _, r := range append(readers, zeros) {
		r.follow(ctx, &group)
		r.hears()
	}
	f.load(2 * time.Millisecond)
	deadline := time.Now().Add(time.Duration(rounds(3, 20)) * time.Second)
	for f.count() < 2000 || time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	f.settle()
	f.nodes[0].process.Load().eventually(rigPatience, "all events at the recorder", func() error { return recorder.misses(f) })
	for _, r := range readers {
		r.mu.Lock()
		r.every = func() int { return 0 }
		r.mu.Unlock()
	}
	kept := f.kept()
	for _, r := range readers {
		f.nodes[0].process.Load().eventually(rigPatience, "all that is kept at "+r.name, func() error { return r.missesOf(f, kept) })
	}
	cancel()
	group.Wait()
	for _, r := range append(readers, zeros) {
		r.verdict(f)
	}
	f.judgeIDs(recorder, kept, readers)
}

// missesOf is an error while the reader has not seen what is kept and for it.
func (r *reader) missesOf(f *fleet, kept map[string]bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	for uid := range kept {
		if _, seen := r.seen[uid]; !seen && r.sees(f.posted[uid]) {
			return fmt.Errorf("%s misses %s, at %q", r.name, uid, r.since)
		}
	}
	return nil
}

// judgeIDs asks with ids that the readers had: what is refused, and what comes,
// must be as the recorder's ids say.
func (f *fleet) judgeIDs(recorder *reader, kept map[string]bool, readers []*reader) {
	f.t.Helper()
	all := make(map[string]spot)
	for uid, i := range recorder.seen {
		all[uid] = parseSpot(f.t, recorder.ids[i])
	}
	refusals, taken := 0, 0
	for n := range rounds(40, 150) {
		of := readers[n%len(readers)]
		id := of.ids[rand.IntN(len(of.ids))]
		if n%2 == 0 { // of the last ones, where both answers lie
			id = of.ids[max(0, len(of.ids)-1-rand.IntN(2500))]
		}
		at := parseSpot(f.t, id)
		gone, next := 0, make(map[string]bool)
		for uid, e := range all {
			switch {
			case at.covers(e):
			case kept[uid]:
				next[uid] = true
			default:
				gone++
			}
		}
		uids, refused := f.answer(id)
		switch {
		case refused != "":
			refusals++
			if gone == 0 {
				f.t.Errorf("%q is refused, and all that comes after it is kept", id)
			}
			if oldest, again := f.answer(refused); again != "" || len(oldest) == 0 {
				f.t.Errorf("%q of a refusal is refused with %q, or brings nothing", refused, again)
			}
		case gone > 0 && !at.skewed:
			f.t.Errorf("%q is taken, and of what comes after it %d are gone", id, gone)
		default:
			taken++
			for _, uid := range uids {
				delete(next, uid)
			}
			if len(next) > 0 {
				f.t.Errorf("%q brings %d, and not %d that come after it", id, len(uids), len(next))
			}
		}
	}
	f.t.Logf("%d of %d events are kept; %d ids refused, %d taken", len(kept), len(all), refusals, taken)
	if refusals == 0 || taken == 0 || len(kept) == len(all) {
		f.t.Error("the test shows nothing")
	}
}

func TestTrimEmbedded(t *testing.T) {
	t.Parallel()
	testTrim(t, 1)
}

func TestTrimRedis(t *testing.T) {
	t.Parallel()
	testTrim(t, 2, single(startRedis(t, localredis.Options{})).env()...)
}
