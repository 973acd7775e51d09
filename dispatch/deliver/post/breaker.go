package post

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"spillway/dispatch/backoff"
)

// ErrOpen: the breaker lets nothing through now.
var ErrOpen = errors.New("the breaker is open")

// tripsAfter is how many failures in a row open a breaker.
const tripsAfter = 10

// openFor is how long it stays open: longer with each probe that failed in a row.
var openFor = backoff.Policy{First: time.Second, Most: time.Minute}

// Breaker holds back from an endpoint that is down.
//
//	closed ──10 failures in a row──▶ open, 1 s … 1 min ──▶ half-open: one probe ──answered──▶ closed
//	                                  ▲                             │
//	                                  └──────── failed, longer ─────┘
//
// What began before it opened counts no more. Its methods may be called at the same
// time.
type Breaker struct {
	mu sync.Mutex
	// current is another one each time it opens, since each stays open for a time of
	// its own.
	current *gobreaker.TwoStepCircuitBreaker[any]
	// opened is how often it opened since it was closed.
	opened int
	// reopens is when a probe is let through, zero while closed.
	reopens time.Time
	probing bool
}

// NewBreaker gives a closed one.
func NewBreaker() *Breaker { return &Breaker{current: closedBreaker(openFor.First)} }

var (
	errFailed  = errors.New("failed")
	errNothing = errors.New("nothing is known")
)

// closedBreaker is one that would stay open for a time.
func closedBreaker(open time.Duration) *gobreaker.TwoStepCircuitBreaker[any] {
	return gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     open,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= tripsAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNothing) },
	})
}

// openBreaker is one that has just opened: a library's breaker opens by failures alone.
func openBreaker(open time.Duration) *gobreaker.TwoStepCircuitBreaker[any] {
	b := closedBreaker(open)
	for range tripsAfter {
		if done, err := b.Allow(); err == nil {
			done(errFailed)
		}
	}
	return b
}

// Allow asks to deliver once. Where it may, done is called once with the outcome:
// Retry is a failure, Stopped says nothing, all else comes of an endpoint that lives.
// Else ErrOpen: not before ReopensAt, and while half-open not before the probe is done.
func (b *Breaker) Allow() (done func(Outcome), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	current := b.current
	report, err := current.Allow()
	if err != nil {
		return nil, ErrOpen
	}
	if current.State() == gobreaker.StateHalfOpen {
		b.probing = true
	}
	return func(outcome Outcome) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.doneLocked(current, report, outcome)
	}, nil
}

func (b *Breaker) doneLocked(from *gobreaker.TwoStepCircuitBreaker[any], report func(error), outcome Outcome) {
	if from != b.current {
		return
	}
	b.probing = false
	switch outcome {
	case Retry:
		report(errFailed)
	case Stopped:
		report(errNothing)
	default:
		report(nil)
	}
	switch b.current.State() {
	case gobreaker.StateOpen:
		wait := openFor.Wait(b.opened, rand.Float64())
		b.opened++
		b.current = openBreaker(wait)
		// The library is still open at the very moment its time is over.
		b.reopens = time.Now().Add(wait + time.Nanosecond)
	case gobreaker.StateClosed:
		b.opened, b.reopens = 0, time.Time{}
	}
}

// State is "closed", "open" or "half-open".
func (b *Breaker) State() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current.State().String()
}

// ReopensAt is when a probe is let through, or was: past while half-open, zero while
// closed.
func (b *Breaker) ReopensAt() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reopens
}

// Probing reports whether the one probe of a half-open breaker is under way.
func (b *Breaker) Probing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.probing
}
