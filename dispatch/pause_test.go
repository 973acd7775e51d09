package dispatch

import (
	"testing"
	"time"

	"spillway/wal"
)

func TestPauseAfter(t *testing.T) {
	for _, c := range []struct {
		lane    wal.Lane
		records int
		want    time.Duration
	}{
		{wal.Bulk, 1, 0},
		{wal.Bulk, 15, 0},
		{wal.Bulk, 16, bulkPause},
		{wal.Bulk, heavyRound - 1, bulkPause},
		{wal.Bulk, heavyRound, heavyPause},
		{wal.Express, 1, 0},
		{wal.Express, 16, expressPause},
	} {
		if got := pauseAfter(c.lane, c.records); got != c.want {
			t.Errorf("%s, %d records: %s, want %s", c.lane, c.records, got, c.want)
		}
	}
}

func TestRestStep(t *testing.T) {
	const worked = 40 * time.Millisecond
	for _, c := range []struct {
		name    string
		arrived int
		worked  time.Duration
		rested  time.Duration
		want    time.Duration
	}{
		{"no load", 0, worked, 0, 0},
		{"hardly any load", 19, worked, 0, 0},
		{"load", 20, worked, 0, 5 * time.Millisecond},
		{"a load that ends", 20, worked, time.Millisecond, 0},
		{"load, rested for a while", 100, worked, 119 * time.Millisecond, 5 * time.Millisecond},
		{"load, rested for long", 100, worked, 120 * time.Millisecond, 0},
		{"nearly as many as were drained", 799, worked, 0, 5 * time.Millisecond},
		{"four for five", 800, worked, 0, 0},
		{"a store that works on", 100, time.Millisecond, 74 * time.Millisecond, 3125 * time.Microsecond},
		{"a store that worked on", 100, time.Millisecond, 75 * time.Millisecond, 0},
	} {
		if got := restStep(1000, c.arrived, c.worked, c.rested); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
