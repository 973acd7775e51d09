package dispatch

import "time"

const (
	backoffFirst = 20 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// backoff is the wait before try number attempt+1, attempt counting from 0: it
// doubles from backoffFirst to backoffMost, of which random, in [0,1), takes up
// to half away, so that many that failed together do not come back together.
func backoff(attempt int, random float64) time.Duration {
	wait := backoffMost
	if attempt < 8 { // 20 ms << 8 is above backoffMost
		wait = min(backoffFirst<<attempt, backoffMost)
	}
	return wait - time.Duration(random*float64(wait)/2)
}
