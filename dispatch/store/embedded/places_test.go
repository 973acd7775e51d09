package embedded

import (
	"errors"
	"testing"
	"time"

	"spillway/dispatch/store"
)

// testPlaces has ids from a clock that stands still, for two partitions.
func testPlaces(now *time.Time, reserved *[]uint64) *places {
	return &places{
		now:     func() time.Time { return *now },
		reserve: func(id uint64) error { *reserved = append(*reserved, id); return nil },
		held:    make([]uint64, 2),
		blocks:  blocks{retain: 1000, retainBytes: 1 << 20, partitions: 2, trimmed: make([]uint64, 2)},
	}
}

func mustTake(t *testing.T, p *places, partition int, n int64) grant {
	t.Helper()
	g, err := p.take(partition, n, n)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestPlacesReserveBeforeTheyGive(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	var reserved []uint64
	p := testPlaces(&now, &reserved)
	g := mustTake(t, p, 0, 3)
	if want := uint64(1_000_000) << seqBits; g.first != want || g.last != want+2 {
		t.Errorf("ids %#x to %#x, want from %#x", g.first, g.last, want)
	}
	if len(reserved) != 1 || placeOf(reserved[0]) != (store.Place{Ms: 1_060_000}) {
		t.Errorf("reserved %#x, want a minute ahead", reserved)
	}
	// The clock goes back: ids go on.
	now = now.Add(-time.Hour)
	if next := mustTake(t, p, 1, 1); next.first != g.last+1 {
		t.Errorf("id %#x after %#x", next.first, g.last)
	}
	// Reserved ahead of need: when less than half a minute is left.
	now = time.UnixMilli(1_029_000)
	if err := p.extendEarly(); err != nil || len(reserved) != 1 {
		t.Errorf("reserved early: %#x, %v", reserved, err)
	}
	now = time.UnixMilli(1_031_000)
	if err := p.extendEarly(); err != nil || len(reserved) != 2 || placeOf(reserved[1]).Ms != 1_091_000 {
		t.Errorf("not reserved ahead of need: %#x, %v", reserved, err)
	}
	// Without it, on the spot.
	now = time.UnixMilli(2_000_000)
	if g := mustTake(t, p, 0, 1); g.last > reserved[len(reserved)-1] {
		t.Errorf("id %#x was given out beyond %#x", g.last, reserved)
	}
	p.reserve = func(uint64) error { return errors.New("no disk") }
	now = time.UnixMilli(3_000_000)
	if _, err := p.take(0, 1, 1); err == nil {
		t.Error("an id was given out that could not be reserved")
	}
}

// TestRestartsDoNotRunAway: a clock that stands still costs a second a restart.
func TestRestartsDoNotRunAway(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	var reserved []uint64
	last := uint64(0)
	for range 10 {
		p := testPlaces(&now, &reserved)
		p.last, p.reserved = last, last
		mustTake(t, p, 0, 1)
		last = p.reserved
	}
	if ms := placeOf(last).Ms; ms > 1_000_000+60_000+10*1_000 {
		t.Errorf("ten restarts reserved up to %d", ms)
	}
}

func TestHorizon(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	var reserved []uint64
	p := testPlaces(&now, &reserved)
	held := make([]uint64, 2)
	a, b, c := mustTake(t, p, 0, 2), mustTake(t, p, 1, 2), mustTake(t, p, 0, 1)
	for _, tt := range []struct {
		settle    grant
		committed bool
		horizon   uint64
		held      [2]uint64
	}{
		{b, true, a.first - 1, [2]uint64{0, b.last}},
		{a, true, c.first - 1, [2]uint64{a.last, b.last}},
		{c, false, c.last, [2]uint64{a.last, b.last}},
	} {
		_, wake := p.view(held)
		p.settle(tt.settle, tt.committed)
		select {
		case <-wake:
		default:
			t.Error("nobody was woken")
		}
		if got, _ := p.view(held); got != tt.horizon || [2]uint64(held) != tt.held {
			t.Errorf("horizon %#x, held %#x; want %#x, %#x", got, held, tt.horizon, tt.held)
		}
	}
	if count, bytes := p.size(); count != 4 || bytes != 4 {
		t.Errorf("%d entries, %d bytes, want 4 and 4", count, bytes)
	}
}

func TestCutStopsAtTheHorizon(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	var reserved []uint64
	p := testPlaces(&now, &reserved)
	p.blocks.retain = 4
	first := mustTake(t, p, 0, 3)
	p.settle(first, true)
	flying := mustTake(t, p, 1, 3)
	p.settle(mustTake(t, p, 0, 3), true)
	cuts, _, keep := p.cut()
	if len(cuts) != 1 || cuts[0] != (cut{partition: 0, to: first.last}) || keep != flying.first {
		t.Errorf("cut %+v, kept from %#x", cuts, keep)
	}
	if cuts, from, keep := p.cut(); len(cuts) != 0 || from != keep {
		t.Errorf("a batch in flight was cut: %+v", cuts)
	}
	p.settle(flying, true)
	if cuts, _, _ := p.cut(); len(cuts) != 1 || cuts[0].to != flying.last {
		t.Errorf("cut %+v after it settled", cuts)
	}
	if count, _ := p.size(); count != 3 {
		t.Errorf("%d entries left, want 3", count)
	}
}
