package dispatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestRecovery: a wait ends with its time, or as soon as anyone has got through
// since the try before it began.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecovery()
		waited := func(began time.Time, wake <-chan struct{}) time.Duration {
			sleepUntil(context.Background(), 5*time.Second, wake)
			return time.Since(began)
		}
		if got := waited(time.Now(), r.awaited()); got != 5*time.Second {
			t.Errorf("waited %s though nobody got through", got)
		}
		time.AfterFunc(time.Second, r.announce)
		if got := waited(time.Now(), r.awaited()); got != time.Second {
			t.Errorf("waited %s for one who got through after 1s", got)
		}
		before := r.awaited()
		r.announce()
		if got := waited(time.Now(), before); got != 0 {
			t.Errorf("waited %s though one got through during the try", got)
		}
		if got := waited(time.Now(), r.awaited()); got != 5*time.Second {
			t.Errorf("waited %s for one who got through long before", got)
		}
	})
}
