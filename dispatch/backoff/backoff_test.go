package backoff

import (
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	policy := Policy{First: 20 * time.Millisecond, Most: 5 * time.Second}
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
		{1 << 40, 0, 5 * time.Second},
		{1 << 40, 1, 2500 * time.Millisecond},
	} {
		if got := policy.Wait(c.attempt, c.random); got != c.want {
			t.Errorf("wait after attempt %d, random %v: %s, want %s", c.attempt, c.random, got, c.want)
		}
	}
}
