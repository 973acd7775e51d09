package campaign

import (
	"math"
	"time"
)

// Shape is how the rate of a campaign's sends changes: from nothing to Rate
// within Ramp, then Rate, but BurstFactor times that for BurstLength from BurstAt.
//
//	            ┌──────┐
//	            │      │
//	   ┌────────┘      └────────── Rate
//	  ╱
//	 ╱
//	0  Ramp  BurstAt
type Shape struct {
	// Rate is of messages sent a second.
	Rate float64
	Ramp time.Duration
	// BurstFactor of 0 is no burst; BurstAt is not before the end of Ramp.
	BurstFactor          float64
	BurstAt, BurstLength time.Duration
}

// at is when message n, from 0, is sent: where the integral of the rate is n.
func (s Shape) at(n int) time.Duration {
	left, ramp := float64(n), s.Ramp.Seconds()
	if ramped := s.Rate * ramp / 2; left < ramped {
		return seconds(math.Sqrt(2 * left * ramp / s.Rate))
	} else {
		left -= ramped
	}
	if s.BurstFactor == 0 {
		return seconds(ramp + left/s.Rate)
	}
	if held := s.Rate * (s.BurstAt.Seconds() - ramp); left < held {
		return seconds(ramp + left/s.Rate)
	} else {
		left -= held
	}
	if burst := s.Rate * s.BurstFactor * s.BurstLength.Seconds(); left < burst {
		return s.BurstAt + seconds(left/(s.Rate*s.BurstFactor))
	} else {
		left -= burst
	}
	return s.BurstAt + s.BurstLength + seconds(left/s.Rate)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
