package deliver

import (
	"math/rand/v2"
	"time"

	"spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
)

const (
	// firstPause and longestPause bound the pauses between tries.
	firstPause   = time.Second
	longestPause = time.Hour
)

// over notes what came of a job.
func (s *share) over(j *job, now time.Time) {
	if j.result.Outcome == post.Gone {
		s.d.pauseGone(s.endpoint)
	}
	if j.index == none {
		s.overNew(s.window.at(j.number), j, now)
	} else {
		s.overParked(j, now)
	}
	s.touch()
}

func (s *share) overNew(i *item, j *job, now time.Time) {
	switch j.result.Outcome {
	case post.Delivered:
		i.state = over
	case post.Refused:
		i.state, i.reason, i.first, i.attempts = toBury, j.result.Reason, now, 1
	case post.Stopped:
		if i.state = waiting; !s.stopping() {
			i.park(time.Time{}, s.endpoint.unblocks(now), 0)
		}
	default:
		i.park(now, now.Add(pauseAfter(1, j.result.RetryAfter)), 1)
	}
}

func (s *share) overParked(j *job, now time.Time) {
	p := s.parked.get(j.index)
	switch {
	case j.result.Outcome == post.Delivered:
		s.finished = append(s.finished, p.Place)
		s.parked.remove(j.index)
	case j.result.Outcome == post.Stopped:
		s.parked.retry(j.index, s.endpoint.unblocks(now), p.Attempts)
	case j.result.Outcome == post.Refused:
		s.bury(j.index, j.entry, j.result.Reason, now)
	case now.Sub(p.First) >= s.endpoint.cfg.RetryFor:
		p.Attempts++
		s.bury(j.index, j.entry, "not delivered within retry_for: "+j.result.Reason, now)
	default:
		s.parked.retry(j.index, now.Add(pauseAfter(p.Attempts+1, j.result.RetryAfter)), p.Attempts+1)
		s.retried = append(s.retried, s.parked.get(j.index))
	}
}

// bury has a parked delivery, which was taken, become a dead one.
func (s *share) bury(index int32, entry store.Entry, reason string, now time.Time) {
	s.dead = append(s.dead, store.Dead{Share: s.lease.Share, Parked: s.parked.get(index), Entry: entry, Reason: reason, Died: now})
	s.parked.remove(index)
}

// pauseAfter is the pause after so many tries: at random up to a bound that doubles,
// and no less than the endpoint asked for.
func pauseAfter(tries uint32, asked time.Duration) time.Duration {
	most := longestPause
	if tries < 13 {
		most = min(longestPause, firstPause<<(tries-1))
	}
	return max(time.Duration(rand.Float64()*float64(most)), asked)
}
