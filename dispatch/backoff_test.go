package dispatch

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		attempt int
		random  float64
		want    time.Duration
	}{
		{0, 0, 20 * time.Millisecond},
		{0, 0.5, 15 * time.Millisecond},
		{1, 0, 40 * time.Millisecond},
		{7, 0, 2560 * time.Millisecond},
		{8, 0, 5 * time.Second},
		{1000, 0, 5 * time.Second},
		{1000, 1, 2500 * time.Millisecond},
	} {
		if got := backoff(c.attempt, c.random); got != c.want {
			t.Errorf("backoff(%d, %v) = %s, want %s", c.attempt, c.random, got, c.want)
		}
	}
}
