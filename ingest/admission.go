package ingest

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// look is how long webhooks are watched before they are judged. A disk that
	// stalls for less than two of them leaves no inARow looks without a webhook
	// that was quick.
	look = 125 * time.Millisecond
	// inARow is how many looks, one after the other, must find a standing queue
	// before any webhook is refused.
	inARow = 3
	// apart is how long a look takes at least that has nothing to do with the one
	// before: hardly any webhooks came.
	apart = 2 * time.Second
	// fewest may always wait for the log: too few would leave it idle.
	fewest = 200
)

// admission refuses webhooks that would wait too long for the log, before their
// bodies are read, so that those it lets in are answered in time.
//
//	let in? ──▶ body, signature ──▶ enter ──▶ Log.Append ──▶ leave
//
// A queue that comes and goes does no harm: a group of webhooks shares a sync,
// and a disk that stalls for a moment catches up at once. A queue that stands is
// one in which even the quickest has waited longer than target, look after look.
// Then as many may wait as the log has lately taken within target: by Little's
// law each of them waits about that long. The limit goes when a look has passed
// in which the quickest was quick and nobody was refused.
//
// Where the disk takes longer than half of target for a single sync, a wait of two
// syncs stands in for target: one that is under way, and the webhook's own. A limit
// below what they hold would make the groups smaller and nothing faster.
//
// Only the wait for the log counts: senders that are slow, or whose signatures
// are wrong, keep no one out.
type admission struct {
	target     time.Duration
	commitTime func() time.Duration
	origin     time.Time
	// limit is how many may wait, unlimited where the queue does not stand.
	limit  atomic.Int64
	inside atomic.Int64

	// What the look under way has seen. It began so many nanoseconds after origin.
	began          atomic.Int64
	acked, refused atomic.Int64
	quickest       atomic.Int64 // nanoseconds

	judging sync.Mutex
	state   verdict // under judging
}

const unlimited = math.MaxInt64

func newAdmission(target time.Duration, commitTime func() time.Duration) *admission {
	a := &admission{target: target, commitTime: commitTime, origin: time.Now()}
	a.limit.Store(unlimited)
	a.quickest.Store(math.MaxInt64)
	return a
}

// letIn reports whether a webhook whose header has come may send its body.
func (a *admission) letIn(now time.Time) bool {
	a.judge(now)
	if a.inside.Load() < a.limit.Load() {
		return true
	}
	a.refused.Add(1)
	return false
}

// enter begins the wait for the log; leave must follow.
func (a *admission) enter() { a.inside.Add(1) }

// leave ends it; acked says that the log has taken the webhook.
func (a *admission) leave(waited time.Duration, acked bool, now time.Time) {
	a.inside.Add(-1)
	if acked {
		a.acked.Add(1)
		for least := a.quickest.Load(); int64(waited) < least; least = a.quickest.Load() {
			if a.quickest.CompareAndSwap(least, int64(waited)) {
				break
			}
		}
	}
	a.judge(now)
}

// waiting is how many wait for the log.
func (a *admission) waiting() int64 { return a.inside.Load() }

// judge ends the look that is over, if one is, and begins the next.
func (a *admission) judge(now time.Time) {
	at := int64(now.Sub(a.origin))
	if at-a.began.Load() < int64(look) || !a.judging.TryLock() {
		return
	}
	defer a.judging.Unlock()
	took := time.Duration(at - a.began.Load())
	if took < look {
		return // another did it
	}
	a.state = a.state.next(sight{
		took:     took,
		acked:    a.acked.Swap(0),
		refused:  a.refused.Swap(0),
		inside:   a.inside.Load(),
		quickest: time.Duration(a.quickest.Swap(math.MaxInt64)),
	}, max(a.target, 2*a.commitTime()))
	limit := a.state.limit
	if limit == 0 {
		limit = unlimited
	}
	a.limit.Store(limit)
	a.began.Store(at)
}

// sight is what a look has seen: how many were acked, the quickest after which
// wait, and refused, and how many wait at its end.
type sight struct {
	took                   time.Duration
	acked, refused, inside int64
	quickest               time.Duration
}

// verdict is what the looks so far have come to.
type verdict struct {
	// standing is how many looks in a row have found a standing queue, while
	// there is no limit.
	standing int
	// limit is how many may wait, 0 for any number.
	limit int64
}

// next is the verdict after one more look.
func (v verdict) next(s sight, target time.Duration) verdict {
	if s.took >= apart {
		v.standing = 0
	}
	standing := s.quickest > target && s.acked > 0 || s.acked == 0 && s.inside > 0
	switch {
	case !standing && (v.limit == 0 || s.refused == 0):
		return verdict{}
	case v.limit == 0 && v.standing+1 < inARow:
		return verdict{standing: v.standing + 1}
	case s.acked == 0:
		// How fast the log will be again is not known; those who wait may come again.
		return verdict{limit: max(v.limit, s.inside, fewest)}
	}
	limit := int64(float64(s.acked) * float64(target) / float64(s.took))
	if v.limit > 0 {
		limit = (v.limit + limit) / 2 // one look is short
	}
	return verdict{limit: max(limit, fewest)}
}
