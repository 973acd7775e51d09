package dispatch

import (
	"context"
	"sync"
	"time"
)

// recovery shortens the waits of those whose store failed: the first that gets
// through wakes all others. Else each would wait out its own back-off, and a
// message in express could come seconds after the statuses in bulk.
type recovery struct {
	mu sync.Mutex
	// next is closed, and made anew, when anyone gets through.
	next chan struct{}
}

func newRecovery() *recovery { return &recovery{next: make(chan struct{})} }

// awaited is closed when anyone gets through from now on. It is to be taken before
// a try, so that one that fails meanwhile is made again at once.
func (r *recovery) awaited() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// announce says that a try got through after others had failed.
func (r *recovery) announce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.next)
	r.next = make(chan struct{})
}

// sleepUntil waits for d, for wake to be closed, or for ctx to end.
func sleepUntil(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}
