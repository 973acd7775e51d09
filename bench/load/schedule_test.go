package load

import (
	"testing"
	"time"
)

func TestScheduleAt(t *testing.T) {
	for _, c := range []struct {
		rate, n int64
		want    time.Duration
	}{
		{1, 0, 0},
		{1, 1, time.Second},
		{10, 5, 500 * time.Millisecond},
		{3, 1, 333333333},
		{3, 2, 666666666},
		{3, 3, time.Second},
		{1_000_000, 1, time.Microsecond},
		{1_000_000, 86_400_000_001, 24*time.Hour + time.Microsecond},
	} {
		if got := (schedule{rate: c.rate}).at(c.n); got != c.want {
			t.Errorf("%d a second: send %d is due after %s, want %s", c.rate, c.n, got, c.want)
		}
	}
}

func TestScheduleDue(t *testing.T) {
	for _, c := range []struct {
		rate     int64
		duration time.Duration
		elapsed  time.Duration
		due      int64
		count    int64
	}{
		{10, time.Second, -1, 0, 10},
		{10, time.Second, 0, 1, 10},
		{10, time.Second, 100*time.Millisecond - 1, 1, 10},
		{10, time.Second, 100 * time.Millisecond, 2, 10},
		{10, time.Second, 900 * time.Millisecond, 10, 10},
		{10, time.Second, time.Second, 10, 10},
		{10, time.Second, time.Hour, 10, 10},
		{10, 1050 * time.Millisecond, time.Hour, 11, 11},
		{1, time.Millisecond, 0, 1, 1},
		{3, time.Second, 333333332, 1, 3},
		{3, time.Second, 333333333, 2, 3},
		{1_000_000, 24 * time.Hour, 24 * time.Hour, 86_400_000_000, 86_400_000_000},
	} {
		s := schedule{rate: c.rate, duration: c.duration}
		if due, count := s.due(c.elapsed), s.count(); due != c.due || count != c.count {
			t.Errorf("%d a second for %s: %d due after %s, %d in all; want %d and %d",
				c.rate, c.duration, due, c.elapsed, count, c.due, c.count)
		}
	}
}

// TestScheduleAgrees: at and due are two ways to say the same.
func TestScheduleAgrees(t *testing.T) {
	for _, rate := range []int64{1, 3, 7, 999, 60_000, 1_000_000} {
		s := schedule{rate: rate, duration: time.Hour}
		for n := range int64(3000) {
			if due, before := s.due(s.at(n)), s.due(s.at(n)-1); due != n+1 || before != n {
				t.Fatalf("%d a second: %d due when send %d is, %d before", rate, due, n, before)
			}
		}
	}
}
