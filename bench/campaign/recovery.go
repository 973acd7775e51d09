package campaign

import (
	"math"
	"slices"
	"time"
)

// Burst tells how a burst was got over.
type Burst struct {
	// Seconds is how long it lasted, from second From.
	From    int     `json:"from_second"`
	Seconds float64 `json:"seconds"`
	// NormalSeconds is what the 99th percentile of deliveries is held to be normal
	// below: twice its median before the burst, and 50 ms at least.
	NormalSeconds float64 `json:"normal_seconds"`
	// RecoveredAfter is how long after the burst's end it was back below that for
	// three seconds on end; -1 where it never was.
	RecoveredAfter float64 `json:"recovered_after_seconds"`
}

const (
	leastNormal = 50 * time.Millisecond
	calm        = 3
)

// recovery is nil for a campaign without a burst, or that ended before it.
func recovery(s Shape, series []Point) *Burst {
	from, until := int(s.BurstAt.Seconds()), int(math.Ceil((s.BurstAt + s.BurstLength).Seconds()))
	held := int(math.Ceil(s.Ramp.Seconds()))
	if s.BurstFactor == 0 || from <= held || until >= len(series) {
		return nil
	}
	var before []float64
	for _, p := range series[held:from] {
		if p.Seen > 0 {
			before = append(before, p.DeliveryP99)
		}
	}
	if len(before) == 0 {
		return nil
	}
	slices.Sort(before)
	b := &Burst{
		From: from, Seconds: s.BurstLength.Seconds(), RecoveredAfter: -1,
		NormalSeconds: max(2*before[len(before)/2], leastNormal.Seconds()),
	}
	good := 0
	for _, p := range series[until:] {
		// Where nothing comes that should, delivery is not normal.
		if good++; max(p.DeliveryP99, p.Lag) > b.NormalSeconds {
			good = 0
		}
		if good == calm {
			b.RecoveredAfter = float64(p.Second + 1 - calm - until)
			break
		}
	}
	return b
}
