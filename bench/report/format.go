package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// count is a whole number with commas: 12,345.
func count(n int64) string {
	digits := strconv.FormatUint(magnitude(n), 10)
	var b strings.Builder
	if n < 0 {
		b.WriteString("−")
	}
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// magnitude is n without its sign, of the least number too.
func magnitude(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// figure is a number with commas, with two digits behind the point below ten and
// none from a hundred on.
func figure(value float64) string {
	if math.Abs(value) >= 100 {
		return count(int64(min(max(math.Round(value), -mostValue), mostValue)))
	}
	return three(value)
}

// three shows a value below a thousand with up to three digits, two behind the
// point at most.
func three(value float64) string {
	places := 2
	switch {
	case value >= 99.95:
		places = 0
	case value >= 9.995:
		places = 1
	}
	text := strconv.FormatFloat(value, 'f', places, 64)
	if places > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// short is a number on an axis: 900, 12k, 1.5M.
func short(value float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if value >= unit.size {
			size := unit.size
			if unit.name == "k" {
				size = 1e3
			}
			return figure(value/size) + unit.name
		}
	}
	return figure(value)
}

// perSecond is a rate.
func perSecond(value float64) string { return figure(value) + " a second" }

// latency is a time in seconds with up to three digits and its unit: 350 µs,
// 4.2 ms, 1.2 s. The space does not break.
func latency(seconds float64) string {
	switch {
	case seconds == 0:
		return "0\u00a0s"
	case seconds < 0.9995e-3:
		return three(seconds*1e6) + "\u00a0µs"
	case seconds < 0.9995:
		return three(seconds*1e3) + "\u00a0ms"
	case seconds < 999.5:
		return three(seconds) + "\u00a0s"
	}
	return figure(seconds) + "\u00a0s"
}

// latencyFromZero is a latency on an axis that begins with 0.
func latencyFromZero(seconds float64) string {
	if seconds == 0 {
		return "0"
	}
	return latency(seconds)
}

// quantile is a latency, or a dash where nothing was measured.
func quantile(seconds float64) string {
	if seconds <= 0 {
		return "–"
	}
	return latency(seconds)
}

// percent is a share of 1.
func percent(share float64) string {
	if share > 0 && share < 0.00005 {
		return "< 0.01\u00a0%"
	}
	return figure(share*100) + "\u00a0%"
}

// span is how long something took: 45 s, 12 min 5 s, 1 h 5 min.
func span(seconds float64) string {
	if seconds < 60 {
		return latency(seconds)
	}
	d := time.Duration(min(seconds, 1e9) * float64(time.Second)).Round(time.Second)
	if d < time.Hour {
		return joinUnits(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	}
	d = d.Round(time.Minute)
	return joinUnits(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
}

func joinUnits(large int, largeUnit string, small int, smallUnit string) string {
	text := fmt.Sprintf("%d\u00a0%s", large, largeUnit)
	if small > 0 {
		text += fmt.Sprintf(" %d\u00a0%s", small, smallUnit)
	}
	return text
}

// clock is a time on an axis that ends at longest, both in seconds: 15 s up to a
// minute, else 2:30, and 1:02:30 where there are hours.
func clock(seconds, longest float64) string {
	whole := int64(min(seconds, mostValue))
	switch {
	case longest <= 60:
		return fmt.Sprintf("%d\u00a0s", whole)
	case longest < 3600:
		return fmt.Sprintf("%d:%02d", whole/60, whole%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", whole/3600, whole/60%60, whole%60)
}
