package stream

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// rewindRig is a feed of two partitions and a live reader who has had the events
// at 1005 to 1020. The even ones are of partition 1, and all is complete to 1016.
func rewindRig(t *testing.T, change func(*Config)) (r *rig, p *peer, had []message) {
	t.Helper()
	feed := newMemoryFeed(2)
	feed.fill(4)
	feed.lag = 4
	r = newRig(t, feed, change)
	p = r.open("")
	p.live()
	return r, p, p.events(feed.fill(16))
}

func (r *rig) wantRewinds(want float64) {
	r.t.Helper()
	r.wantMetric("rewinds", r.server.metrics.rewinds, want)
}

// atMostTwice fails where an event came more often, over all that was read.
func atMostTwice(t *testing.T, had []message, more ...[]uuid.UUID) {
	t.Helper()
	times := make(map[uuid.UUID]int)
	for i := range had {
		times[had[i].UID]++
	}
	for _, uids := range more {
		for _, uid := range uids {
			times[uid]++
		}
	}
	for _, n := range times {
		if n > 2 {
			t.Errorf("an event came %d times", n)
		}
	}
}

// TestLiveAfterStreamWentBack: what is appended below the places a live socket
// saw reaches it, however the hub finds out that the stream went back.
func TestLiveAfterStreamWentBack(t *testing.T) {
	tests := map[string]func(r *rig) (low []store.Entry){
		"while followed": func(r *rig) []store.Entry {
			r.feed.goBack(1, 1016)
			r.wantRewinds(1)
			return []store.Entry{r.feed.addAt(1, 1017), r.feed.addAt(1, 1019)}
		},
		"appended before it was found": func(r *rig) []store.Entry {
			r.feed.setBroken(errors.New("away"))
			r.feed.kick <- errors.New("cut off")
			r.feed.goBack(1, 1016)
			low := []store.Entry{r.feed.addAt(1, 1017), r.feed.addAt(1, 1019)}
			r.feed.setBroken(nil)
			r.wantRewinds(1)
			return low
		},
		"past the place before the bounds were read": func(r *rig) []store.Entry {
			r.feed.setBroken(store.ErrWentBack)
			r.feed.kick <- store.ErrWentBack
			r.feed.goBack(1, 1016)
			low := []store.Entry{r.feed.addAt(1, 1017), r.feed.addAt(1, 1019), r.feed.add(1, "message:new", `{}`)}
			r.feed.setBroken(nil)
			r.wantRewinds(1)
			return low
		},
		"between bounds and the first look": func(r *rig) []store.Entry {
			var low store.Entry
			r.feed.mu.Lock()
			r.feed.beforeFollow = func() {
				r.feed.goBack(1, 1016)
				low = r.feed.addAt(1, 1017)
			}
			r.feed.mu.Unlock()
			r.feed.kick <- errors.New("cut off")
			r.wantRewinds(1)
			return []store.Entry{low}
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			r, p, had := rewindRig(t, nil)
			low := lose(r)
			got := p.until(low)
			next := p.until(r.feed.fill(10))
			// From here on all is as ever.
			p.events(r.feed.fill(10))
			atMostTwice(t, had, got, next)
			r.wantRewinds(1)
		})
	}
}

// TestResumeAfterStreamWentBack: a reader who comes back with a place that was
// lost gets what is there now, and what is appended below it later.
func TestResumeAfterStreamWentBack(t *testing.T) {
	r, p, had := rewindRig(t, func(c *Config) { c.FollowLinger = time.Millisecond })
	last := had[len(had)-1]
	if m, err := parseMark(last.ID); err != nil || m.partition != 1 || m.place.Ms != 1020 || m.watermark.Ms >= 1017 {
		t.Fatalf("the last id is %q: %+v, %v", last.ID, m, err)
	}
	_ = p.conn.Close()
	eventually(t, "asleep", func() bool { return !r.feed.isFollowed() })
	r.feed.goBack(1, 1016)
	low := r.feed.addAt(1, 1017)
	p = r.open("since=" + last.ID)
	got := p.until([]store.Entry{low})
	p.position()
	lower := r.feed.addAt(1, 1018)
	got = append(got, p.until([]store.Entry{lower})...)
	p.events(r.feed.fill(10))
	atMostTwice(t, had, got)
	r.wantRewinds(0) // the hub was asleep, and had no place to lose
}

// TestResumeAfterStreamGrewAgain: an id of before a stream went back stands below
// its end by now, and brings all the same what was appended below the id.
func TestResumeAfterStreamGrewAgain(t *testing.T) {
	r, p, had := rewindRig(t, nil)
	last := had[len(had)-1]
	r.feed.goBack(1, 1016)
	r.wantRewinds(1)
	low := r.feed.addAt(1, 1017)
	high := r.feed.add(1, "message:new", `{}`)
	p.until([]store.Entry{low, high})

	again := r.open("since=" + last.ID)
	_ = again.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := again.until([]store.Entry{low, high})
	atMostTwice(t, had, got)
	// An id is exact again once all is complete beyond what was lost.
	p.until(r.feed.fill(8))
	live := p.events(r.feed.fill(8))
	newest := live[len(live)-1]
	if m, err := parseMark(newest.ID); err != nil || m.partition != 1 || m.watermark.Compare(m.place) >= 0 {
		t.Fatalf("the newest id is %q: %+v, %v", newest.ID, m, err)
	}
	got = r.open("since=" + newest.ID).until(r.feed.fill(8))
	if slices.Contains(got, newest.UID) {
		t.Error("an event came again after its own id")
	}
}

// TestWentBackInAnotherStore: a place beyond the limit is of another store, and
// is told, as ever.
func TestWentBackInAnotherStore(t *testing.T) {
	r, p, had := rewindRig(t, nil)
	r.feed.setBroken(errors.New("away"))
	r.feed.kick <- errors.New("cut off")
	r.feed.goBack(0, 500)
	r.feed.goBack(1, 500)
	r.feed.mu.Lock()
	r.feed.ms = 600
	r.feed.mu.Unlock()
	r.feed.setBroken(nil)
	p.wantClose(CodeSince)
	r.open("since=" + had[len(had)-1].ID).wantClose(CodeSince)
	r.wantRewinds(0)
}

// TestStepBack is the arithmetic of it.
func TestStepBack(t *testing.T) {
	at := func(ms uint64) store.Place { return store.Place{Ms: ms} }
	bounds := []store.Bounds{{Trimmed: at(10), Last: at(50)}, {Trimmed: at(10), Last: at(90)}}
	tests := map[string]struct {
		cursor cursor
		want   []store.Place // to read on from
		err    error
	}{
		"within":                 {cursor{places: []store.Place{at(50), at(90)}, watermark: at(40)}, []store.Place{at(50), at(90)}, nil},
		"beyond the last":        {cursor{places: []store.Place{at(51), at(80)}, watermark: at(40)}, []store.Place{at(40), at(80)}, nil},
		"idle, all complete":     {cursor{places: []store.Place{at(70), at(80)}, watermark: at(70)}, []store.Place{at(70), at(80)}, nil},
		"seen by the hub":        {cursor{places: []store.Place{at(50), at(80)}, watermark: at(40), back: []bool{true, true}}, []store.Place{at(40), at(40)}, nil},
		"beyond the limit":       {cursor{places: []store.Place{at(101), at(80)}, watermark: at(40), back: []bool{true, true}}, nil, errMark},
		"limit in another":       {cursor{places: []store.Place{at(60), at(101)}, watermark: at(40)}, nil, errMark},
		"watermark not kept":     {cursor{places: []store.Place{at(60), at(80)}, watermark: at(5)}, nil, errGap},
		"of the oldest":          {cursor{places: []store.Place{at(60), at(80)}, begun: []bool{true, true}}, []store.Place{at(10), at(80)}, nil},
		"of the oldest, later":   {cursor{places: []store.Place{at(60), at(80)}, watermark: at(30), begun: []bool{true, true}}, []store.Place{at(30), at(80)}, nil},
		"untouched, watermark 0": {cursor{places: []store.Place{at(50), at(80)}}, []store.Place{at(50), at(80)}, nil},
	}
	for name, test := range tests {
		c := test.cursor
		err := c.check(bounds, at(100))
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", name, err, test.err)
		}
		if err != nil {
			continue
		}
		if got := []store.Place{c.after(0), c.after(1)}; !slices.Equal(got, test.want) {
			t.Errorf("%s: reads on from %v, want %v", name, got, test.want)
		}
		if c.back != nil {
			t.Errorf("%s: would step back again", name)
		}
	}
}

// TestOldTargetDoesNotUndoStepBack: the hub, which has yet to find out, gives a
// target beyond the end of the stream.
func TestOldTargetDoesNotUndoStepBack(t *testing.T) {
	feed := newMemoryFeed(1)
	feed.fill(10)
	at := func(ms uint64) store.Place { return store.Place{Ms: ms, Seq: 1} }
	target := []store.Place{at(1010)}
	c := &cursor{places: []store.Place{at(1010)}, watermark: at(1003)}
	feed.goBack(0, 1005)
	m, err := newMerge(t.Context(), feed, c, target, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, e, err := m.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		c.advance(p, e.Place, at(1003))
	}
	c.reach(target, at(1003))
	if got := c.after(0); got != at(1005) {
		t.Errorf("reads on from %+v, want 1005", got)
	}
}

// TestHubTellsEachMemberOnce: what went back is told with the next level, to
// those that were members then.
func TestHubTellsEachMemberOnce(t *testing.T) {
	h := newHub(3, 8, prometheus.NewCounter(prometheus.CounterOpts{Name: "x", Help: "x"}), newCrew(1024, 1<<30))
	a, b := &socket{filter: &filter{}}, &socket{filter: &filter{}}
	h.enter(a)
	from := make([]store.Place, 3)
	h.restart(from, []bool{true, false, false}, store.Place{})
	h.restart(from, nil, store.Place{})
	h.restart(from, []bool{false, false, true}, store.Place{})
	h.enter(b)
	if _, ok := h.level(a); ok {
		t.Fatal("level while the hub does not know")
	}
	_ = h.emit(store.Round{})
	if at, _ := h.level(a); !slices.Equal(at.back, []bool{true, false, true}) {
		t.Errorf("told %v", at.back)
	}
	if at, _ := h.level(a); at.back != nil {
		t.Errorf("told again: %v", at.back)
	}
	if at, _ := h.level(b); at.back != nil {
		t.Errorf("told one who came later: %v", at.back)
	}
}

// TestTries: the wait before a feed is followed again.
func TestTries(t *testing.T) {
	away := errors.New("away")
	var tries tries
	for i, step := range []struct {
		err    error
		lasted time.Duration
		want   time.Duration
	}{
		{away, 0, 50 * time.Millisecond},
		{away, 0, 100 * time.Millisecond},
		{away, 0, 200 * time.Millisecond},
		{store.ErrWentBack, 0, 0},
		{store.ErrWentBack, 0, 50 * time.Millisecond},
		{store.ErrWentBack, 0, 100 * time.Millisecond},
		{away, 0, 50 * time.Millisecond},
		{store.ErrWentBack, time.Minute, 0},
		{away, time.Second, 50 * time.Millisecond},
	} {
		if got := tries.wait(step.err, step.lasted, 0); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}
