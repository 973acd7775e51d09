package post

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// try asks a breaker and reports an outcome; false where it lets nothing through.
func try(b *Breaker, outcome Outcome) bool {
	done, err := b.Allow()
	if err != nil {
		return false
	}
	done(outcome)
	return true
}

func fail(t *testing.T, b *Breaker, times int) {
	t.Helper()
	for range times {
		if !try(b, Retry) {
			t.Fatal("it lets nothing through")
		}
	}
}

func wantState(t *testing.T, b *Breaker, want string) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("it is %s, want %s", got, want)
	}
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker()
		for _, alive := range []Outcome{Delivered, Refused, Gone} {
			fail(t, b, tripsAfter-1)
			try(b, alive)
		}
		wantState(t, b, "closed")
		fail(t, b, tripsAfter-1)
		try(b, Stopped)
		wantState(t, b, "closed")
		if !b.ReopensAt().IsZero() {
			t.Error("it reopens while closed")
		}
		fail(t, b, 1)
		wantState(t, b, "open")
		if _, err := b.Allow(); !errors.Is(err, ErrOpen) {
			t.Errorf("Allow: %v", err)
		}
	})
}

// TestBreakerStaysOpenLonger: 1 s at first, a minute at most, up to half of it less.
func TestBreakerStaysOpenLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker()
		fail(t, b, tripsAfter)
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			wait := time.Until(b.ReopensAt())
			if wait < want*time.Second/2 || wait > want*time.Second+time.Millisecond {
				t.Fatalf("it reopens in %s, want up to %d s", wait, want)
			}
			time.Sleep(wait - time.Microsecond)
			if try(b, Delivered) {
				t.Fatal("it reopened too early")
			}
			time.Sleep(time.Microsecond)
			wantState(t, b, "half-open")
			fail(t, b, 1)
			wantState(t, b, "open")
		}
		time.Sleep(time.Until(b.ReopensAt()))
		if !try(b, Delivered) {
			t.Fatal("no probe")
		}
		wantState(t, b, "closed")
		if !b.ReopensAt().IsZero() {
			t.Error("it reopens while closed")
		}
		fail(t, b, tripsAfter)
		if wait := time.Until(b.ReopensAt()); wait > time.Second+time.Millisecond {
			t.Errorf("after it was closed it reopens in %s, want 1 s at most", wait)
		}
	})
}

func TestOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker()
		fail(t, b, tripsAfter)
		time.Sleep(time.Until(b.ReopensAt()))
		var let atomic.Int64
		var done func(Outcome)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if report, err := b.Allow(); err == nil {
					let.Add(1)
					done = report
				}
			})
		}
		group.Wait()
		if let.Load() != 1 {
			t.Fatalf("%d probes, want 1", let.Load())
		}
		done(Stopped) // which says nothing: the next may probe
		wantState(t, b, "half-open")
		if !try(b, Refused) {
			t.Fatal("no probe after one that was stopped")
		}
		wantState(t, b, "closed")
	})
}

// TestLateOutcomes: what began before the breaker opened is no probe.
func TestLateOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker()
		early, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		another, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		fail(t, b, tripsAfter)
		reopens := b.ReopensAt()
		early(Delivered)
		wantState(t, b, "open")
		time.Sleep(time.Until(reopens))
		wantState(t, b, "half-open")
		another(Retry)
		wantState(t, b, "half-open")
		if !b.ReopensAt().Equal(reopens) {
			t.Error("a late failure made it stay open longer")
		}
	})
}
