// Package backoff says how long to wait before trying again. It is arithmetic
// alone: who waits, waits itself.
package backoff

import "time"

// Policy doubles the wait from First to Most. Both are above 0.
type Policy struct{ First, Most time.Duration }

// Wait is the wait before the try after attempt, which counts from 0. random, in
// [0, 1), takes up to half of it away, so that many that failed together do not
// come back together.
func (p Policy) Wait(attempt int, random float64) time.Duration {
	wait := p.First
	for ; attempt > 0 && wait < p.Most; attempt-- {
		wait *= 2
	}
	wait = min(wait, p.Most)
	return wait - time.Duration(random*float64(wait)/2)
}
