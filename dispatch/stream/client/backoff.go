package client

import "time"

const (
	minDelay = 200 * time.Millisecond
	maxDelay = 15 * time.Second
)

// backoff is how long to wait before an attempt, doubling from minDelay to
// maxDelay. chance, in [0, 1), takes up to half of it away, so that the clients
// of a server that restarts don't come back all at once.
func backoff(attempt int, chance float64) time.Duration {
	delay := maxDelay
	if attempt < 16 {
		delay = min(minDelay<<attempt, maxDelay)
	}
	return delay - time.Duration(chance*float64(delay)/2)
}
