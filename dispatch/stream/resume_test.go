package stream

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/store"
)

func TestResumeAfterEveryEvent(t *testing.T) {
	r := newRig(t, newMemoryFeed(3), nil)
	p := r.open("")
	p.live()
	all := r.feed.fill(20)
	got := p.events(all)
	if count, sum := sampled(t, r.server.metrics.delay); count == 0 || sum > 10 {
		t.Errorf("%d writes took %v s", count, sum)
	}
	for i, m := range got {
		// All came in the order of their places, so what follows is what is missing;
		// of other partitions some may come twice.
		missing := make(map[uuid.UUID]bool)
		for _, later := range got[i+1:] {
			missing[later.UID] = true
		}
		again := r.open("since=" + m.ID)
		for len(missing) > 0 {
			next := again.event()
			if next.UID == m.UID {
				t.Fatalf("event %d came again after its own id", i)
			}
			delete(missing, next.UID)
		}
		_ = again.conn.Close()
	}
}

func TestSinceZeroAndOldest(t *testing.T) {
	feed := newMemoryFeed(3)
	old := feed.fill(30)
	feed.trim(0, 4)
	kept := slices.DeleteFunc(old, func(e store.Entry) bool {
		return slices.ContainsFunc([]int{0, 3, 6, 9}, func(i int) bool { return e.UID == old[i].UID })
	})
	r := newRig(t, feed, nil)
	got := r.open("since=0").events(kept)

	// Resuming in the part where partitions begin at different places is no gap.
	for i, m := range got {
		missing := make(map[uuid.UUID]bool)
		for _, later := range got[i+1:] {
			missing[later.UID] = true
		}
		again := r.open("since=" + m.ID)
		for len(missing) > 0 {
			next := again.event()
			delete(missing, next.UID)
		}
		_ = again.conn.Close()
	}

	oldest := r.open("since=1-0-1-1-1-1").wantClose(CodeSince)
	r.open("since=" + oldest).events(kept)
	// It works as well when trimming went on.
	feed.trim(1, 2)
	if got := len(r.open("since=" + oldest).events(kept[:0])); got != 0 {
		t.Fatal("events of nothing")
	}
	p := r.open("since=" + oldest)
	for range len(kept) - 2 {
		p.event()
	}
	p.live()
}

func TestSinceRefused(t *testing.T) {
	feed := newMemoryFeed(2)
	feed.fill(20)
	feed.trim(0, 3) // up to the place 1005, base 36 rx
	tests := map[string]struct {
		since string
		gap   bool
	}{
		"no id":                     {"tomorrow", true},
		"another version":           {"2-0-rs-1-rs-1", true},
		"of a partition too many":   {"1-2-rz-1-rz-1", true},
		"place beyond the limit":    {"1-0-zzzzz-1-rz-1", true},
		"watermark beyond":          {"1-0-rz-1-zzzzz-1", true},
		"oldest form beyond":        {"1o-0-zzzzz-1", true},
		"place before the trimmed":  {"1-0-rv-1-ru-1", true},
		"mark before the trimmed":   {"1-1-rw-1-rv-1", true},
		"place at the trimmed":      {"1-0-rx-1-rw-1", false},
		"mark at the trimmed":       {"1-1-ry-1-rx-1", false},
		"nothing lost in the other": {"1-0-rx-1-rv-1", false},
		"oldest form before":        {"1o-0-rv-1", false},
	}
	bounds, limit, err := feed.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		_, err := resume(test.since, bounds, limit)
		if refused := errors.Is(err, errGap) || errors.Is(err, errMark); refused != test.gap {
			t.Errorf("%s: %q gives %v", name, test.since, err)
		}
	}
	r := newRig(t, feed, nil)
	for name, test := range tests {
		if test.gap {
			reason := r.open("since=" + test.since).wantClose(CodeSince)
			if _, err := parseMark(reason); err != nil {
				t.Errorf("%s: reason %q is no id", name, reason)
			}
		}
	}
}

// TestCatchUpWhileWriting reads a long past while the present goes on, and gets
// each event once.
func TestCatchUpWhileWriting(t *testing.T) {
	feed := newMemoryFeed(8)
	past := feed.fill(50_000)
	r := newRig(t, feed, func(c *Config) { c.CatchUps = 2; c.Queue = 64 })
	var writing sync.WaitGroup
	var more []store.Entry
	begun := make(chan struct{})
	writing.Go(func() {
		<-begun
		for range 400 {
			more = append(more, feed.fill(25)...)
			time.Sleep(time.Millisecond)
		}
	})
	var reading sync.WaitGroup
	seen := make([]map[uuid.UUID]bool, 4)
	total := len(past) + 400*25
	for i := range seen {
		seen[i] = make(map[uuid.UUID]bool, total)
		p := r.open("since=0")
		reading.Go(func() {
			for len(seen[i]) < total {
				m := p.event()
				if seen[i][m.UID] {
					t.Errorf("reader %d: an event came twice", i)
					return
				}
				seen[i][m.UID] = true
			}
		})
	}
	close(begun)
	writing.Wait()
	reading.Wait()
	for i := range seen {
		for _, e := range append(past, more...) {
			if !seen[i][e.UID] {
				t.Fatalf("reader %d misses an event", i)
			}
		}
	}
	r.wantMetric("catching up", r.server.metrics.catching, 0)
}

// TestOrderThroughCatchUp checks that a partition's order holds over the join.
func TestOrderThroughCatchUp(t *testing.T) {
	feed := newMemoryFeed(4)
	want := make([][]uuid.UUID, 4)
	add := func(n int) {
		for range n {
			for p := range want {
				want[p] = append(want[p], feed.add(p, "message:new", `{}`).UID)
			}
		}
	}
	add(300)
	r := newRig(t, feed, nil)
	p := r.open("since=0")
	add(300)
	got := make([][]uuid.UUID, 4)
	for range 4 * 600 {
		m := p.event()
		id, err := parseMark(m.ID)
		if err != nil {
			t.Fatal(err)
		}
		got[id.partition] = append(got[id.partition], m.UID)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("partition %d is out of order", i)
		}
	}
}

func TestSlowReader(t *testing.T) {
	r := newRig(t, newMemoryFeed(4), func(c *Config) {
		c.Queue = 32
		c.SendBuffer = 4096
		c.BurstGrace = 200 * time.Millisecond
		c.CloseTimeout = 10 * time.Second
	})
	slow, quick := r.open(""), r.open("")
	slow.live()
	quick.live()
	// Both get the same, as fast as the quick one reads it.
	var all []store.Entry
	for i := range 3000 {
		all = append(all, r.feed.add(i%4, "message:new", `{"x":"`+strings.Repeat("x", 4096)+`"}`))
		if i >= 8 {
			quick.event()
		}
	}
	r.wantMetric("overruns, of the slow one", r.server.metrics.overruns, 1)
	time.Sleep(2 * r.server.cfg.BurstGrace)

	var last message
	seen := make(map[uuid.UUID]bool)
	for {
		_, data, err := slow.conn.ReadMessage()
		if err != nil {
			closed := closeOf(t, err)
			if closed.Code != CodeSlow || closed.Text != last.ID {
				t.Fatalf("closed with %d %q, want %d %q", closed.Code, closed.Text, CodeSlow, last.ID)
			}
			break
		}
		last = decode(t, data)
		seen[last.UID] = true
	}
	if len(seen) >= len(all) {
		t.Fatal("the slow one was waited for")
	}
	r.wantMetric("slow closes", r.server.metrics.slow, 1)
	again := r.open("since=" + last.ID)
	for _, e := range all {
		for !seen[e.UID] {
			seen[again.event().UID] = true
		}
	}
}

// TestBurst: a reader that keeps up survives a burst far above its queue.
func TestBurst(t *testing.T) {
	r := newRig(t, newMemoryFeed(4), func(c *Config) { c.Queue = 16; c.BurstGrace = 10 * time.Second })
	p := r.open("")
	p.live()
	p.events(r.feed.fill(20_000))
	p.events(r.feed.fill(10))
	if r.server.metrics.overrunsValue() == 0 {
		t.Error("the burst did not overrun the queue; the test shows nothing")
	}
	r.wantMetric("slow closes", r.server.metrics.slow, 0)
}

func TestOverrunWithoutGrace(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), func(c *Config) { c.Queue = 16; c.BurstGrace = 0 })
	p := r.open("")
	p.live()
	all := r.feed.fill(20_000)
	reason := p.wantClose(CodeSlow)
	m, err := parseMark(reason)
	if err != nil {
		t.Fatal(err)
	}
	n := slices.IndexFunc(all, func(e store.Entry) bool { return e.Place == m.place })
	// The rest of the burst would overrun the next one as well.
	eventually(t, "all handed out", func() bool {
		position, _ := r.server.hub.from()
		return position[0] == all[len(all)-1].Place
	})
	r.open("since=" + reason).events(all[n+1:])
}

// TestFeedComesBack: what happens while the feed is away reaches all listeners.
func TestFeedComesBack(t *testing.T) {
	feed := newMemoryFeed(3)
	r := newRig(t, feed, nil)
	p := r.open("")
	p.live()
	p.events(feed.fill(10))
	feed.setBroken(errors.New("away"))
	feed.kick <- errors.New("cut off")
	missed := feed.fill(100)
	feed.setBroken(nil)
	p.events(missed)
	p.events(feed.fill(10))
}

// TestFeedComesBackWithGap: trimming went on while the feed was away, so the
// listeners are told.
func TestFeedComesBackWithGap(t *testing.T) {
	feed := newMemoryFeed(1)
	r := newRig(t, feed, nil)
	p := r.open("")
	p.live()
	p.events(feed.fill(10))
	feed.setBroken(errors.New("away"))
	feed.kick <- errors.New("cut off")
	feed.fill(100)
	feed.trim(0, 50)
	feed.setBroken(nil)
	oldest := p.wantClose(CodeSince)
	again := r.open("since=" + oldest)
	for range 60 {
		again.event()
	}
	again.live()
}

// TestTrimmedWhileCatchingUp: a reader overtaken by trimming is told.
func TestTrimmedWhileCatchingUp(t *testing.T) {
	feed := newMemoryFeed(1)
	big := `{"x":"` + strings.Repeat("x", 16<<10) + `"}`
	for range 2000 {
		feed.add(0, "message:new", big)
	}
	r := newRig(t, feed, func(c *Config) { c.SendBuffer = 4096 })
	p := r.open("since=0")
	p.event()
	feed.trim(0, 1990)
	p.wantClose(CodeSince)
}

// TestStuckReaderLosesItsTurn: one that catches up and stands still keeps nobody
// from catching up, and goes on where it was.
func TestStuckReaderLosesItsTurn(t *testing.T) {
	feed := newMemoryFeed(2)
	big := `{"x":"` + strings.Repeat("x", 16<<10) + `"}`
	var all []store.Entry
	for i := range 1500 {
		all = append(all, feed.add(i%2, "message:new", big))
	}
	r := newRig(t, feed, func(c *Config) { c.CatchUps = 1; c.SendBuffer = 4096 })
	stuck := r.open("since=0")
	stuck.event()
	time.Sleep(2 * turnTime)
	quick := r.open("since=0")
	_ = quick.conn.SetReadDeadline(time.Now().Add(r.server.cfg.WriteTimeout / 3))
	quick.events(all)
	stuck.events(all[1:])
}

func TestStoreFailsWhileCatchingUp(t *testing.T) {
	feed := newMemoryFeed(1)
	r := newRig(t, feed, nil)
	r.open("").live()
	feed.setBroken(errors.New("away"))
	r.open("since=0").wantClose(tryLater)
}
