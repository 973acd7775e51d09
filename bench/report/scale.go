package report

import "math"

// scale puts values on an axis: its start is at 0, its end at 1.
type scale struct {
	// min and max are in the unit of toward, which is nil on a linear axis.
	min, max float64
	toward   func(float64) float64
	ticks    []tick
}

// tick is a value on an axis with a line, and a label unless that is empty.
type tick struct {
	value float64
	label string
}

// at is where on the axis a value is, from 0 to 1: what is beyond an end is put
// on it.
func (s scale) at(value float64) float64 {
	if s.toward != nil {
		value = s.toward(value)
	}
	return min(max((value-s.min)/(s.max-s.min), 0), 1)
}

// mostValue bounds linear axes, far above any figure of a run, so that no sum of
// ticks overflows.
const mostValue = 1e15

// linear is an axis from 0 to largest or the next round value above it, with six
// ticks at most.
func linear(largest float64, label func(float64) string) scale {
	largest = min(max(largest, 0), mostValue)
	if largest == 0 {
		largest = 1
	}
	step := roundStep(largest / 5)
	n := math.Ceil(largest/step - 1e-9)
	s := scale{max: n * step}
	for i := range int(n) + 1 {
		value := float64(i) * step
		s.ticks = append(s.ticks, tick{value, label(value)})
	}
	return s
}

// roundStep is the least 1, 2 or 5 times a power of ten that is not below atLeast.
func roundStep(atLeast float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(atLeast)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= atLeast*(1-1e-9) {
			return factor * power
		}
	}
	return 10 * power
}

// The bounds of latencies on a logarithmic axis, in powers of ten of a second.
const (
	leastDecade = -6
	mostDecade  = 5
)

// logarithmic is an axis of latencies in seconds, over the whole decades around
// least and most. Each decade has a tick; where there are more than five, every
// second one has a label.
func logarithmic(least, most float64) scale {
	decade := func(round func(float64) float64, value float64) int {
		// A latency of exactly a power of ten is the end of its decade.
		d := round(math.Round(math.Log10(value)*1e9) / 1e9)
		return int(min(max(d, leastDecade), mostDecade))
	}
	from, to := decade(math.Floor, least), decade(math.Ceil, most)
	if from == to {
		from, to = max(from-1, leastDecade), max(to, leastDecade+1)
	}
	every := 1
	if to-from > 5 {
		every = 2
	}
	s := scale{min: float64(from), max: float64(to), toward: math.Log10}
	for d := from; d <= to; d++ {
		t := tick{value: math.Pow10(d)}
		if (to-d)%every == 0 {
			t.label = latency(t.value)
		}
		s.ticks = append(s.ticks, t)
	}
	return s
}

// timeSteps are the distances in seconds that ticks of a time axis may have.
var timeSteps = []float64{
	1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
	3600, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 2 * 24 * 3600, 7 * 24 * 3600,
}

// overTime is an axis from 0 to a number of seconds, with six ticks at most for
// times below six weeks.
func overTime(seconds float64) scale {
	seconds = max(seconds, 1)
	step := timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if seconds/s <= 5 {
			step = s
			break
		}
	}
	if seconds/step > 6 {
		step = roundStep(seconds / 5)
	}
	s := scale{max: seconds}
	for i := 0; float64(i)*step <= seconds; i++ {
		value := float64(i) * step
		s.ticks = append(s.ticks, tick{value, clock(value, seconds)})
	}
	return s
}

// nines is how many digits of 9 a share begins with: 0.9 is 1, 0.99 is 2.
func nines(share float64) float64 { return -math.Log10(1 - share) }

// percentiles is an axis of shares that gives each further 9 the same room, up to
// a number of nines from 2 to 5. All of it, the largest latency, is at its end.
func percentiles(most float64) scale {
	n := int(min(max(math.Ceil(most-1e-9), 2), 5))
	s := scale{max: float64(n), toward: nines}
	for _, t := range []tick{{0.5, "50"}, {0.9, "90"}, {0.99, "99"}, {0.999, "99.9"}, {0.9999, "99.99"}, {0.99999, "99.999"}} {
		if nines(t.value) <= s.max+1e-9 {
			s.ticks = append(s.ticks, t)
		}
	}
	return s
}
