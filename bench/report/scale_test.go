package report

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// labels are those of all ticks, with a space for the one that does not break.
func labels(s scale) string {
	var all []string
	for _, t := range s.ticks {
		all = append(all, t.label)
	}
	return strings.ReplaceAll(strings.Join(all, "|"), "\u00a0", " ")
}

func TestScaleTicks(t *testing.T) {
	for _, test := range []struct {
		name  string
		scale scale
		want  string
	}{
		{"nothing", linear(0, short), "0|0.2|0.4|0.6|0.8|1"},
		{"below none", linear(-3, short), "0|0.2|0.4|0.6|0.8|1"},
		{"a round value", linear(5_000, short), "0|1,000|2,000|3,000|4,000|5,000"},
		{"just above", linear(5_001, short), "0|2,000|4,000|6,000"},
		{"a rate", linear(13_700, short), "0|5,000|10k|15k"},
		{"small", linear(0.026, latencyFromZero), "0|10 ms|20 ms|30 ms"},
		{"beyond all", linear(math.MaxFloat64, short), "0|200T|400T|600T|800T|1,000T"},
		{"decades", logarithmic(0.0012, 0.8), "1 ms|10 ms|100 ms|1 s"},
		{"whole decades", logarithmic(0.001, 1), "1 ms|10 ms|100 ms|1 s"},
		{"one value", logarithmic(0.1, 0.1), "10 ms|100 ms"},
		{"within a decade", logarithmic(0.2, 0.3), "100 ms|1 s"},
		{"many decades", logarithmic(0.00002, 60), "|100 µs||10 ms||1 s||100 s"},
		{"below all", logarithmic(1e-300, 1e-300), "1 µs|10 µs"},
		{"above all", logarithmic(1, 1e300), "1 s|10 s|100 s|1,000 s|10,000 s|100,000 s"},
		{"no time", overTime(0), "0 s|1 s"},
		{"seconds", overTime(37), "0 s|10 s|20 s|30 s"},
		{"a minute", overTime(60), "0 s|15 s|30 s|45 s|60 s"},
		{"minutes", overTime(299), "0:00|1:00|2:00|3:00|4:00"},
		{"hours", overTime(7_500), "0:00:00|0:30:00|1:00:00|1:30:00|2:00:00"},
		{"two nines", percentiles(0.4), "50|90|99"},
		{"three nines", percentiles(nines(0.999)), "50|90|99|99.9"},
		{"all nines", percentiles(11), "50|90|99|99.9|99.99|99.999"},
	} {
		if got := labels(test.scale); got != test.want {
			t.Errorf("%s: ticks %s, want %s", test.name, got, test.want)
		}
	}
}

// TestTicksAreFew holds every axis to what fits a phone.
func TestTicksAreFew(t *testing.T) {
	for value := 1e-9; value < 1e12; value *= 1.7 {
		for name, s := range map[string]scale{
			"linear": linear(value, short), "logarithmic": logarithmic(value/1e4, value), "time": overTime(value),
		} {
			shown := slices.DeleteFunc(slices.Clone(s.ticks), func(t tick) bool { return t.label == "" })
			if len(shown) < 2 || len(shown) > 7 {
				t.Errorf("%s axis of %g has %d labels: %s", name, value, len(shown), labels(s))
			}
			if end := s.at(value); value < mostValue && name == "linear" && end < 0.5 {
				t.Errorf("%s axis of %g ends at %g", name, value, end)
			}
		}
	}
}

func TestScaleAt(t *testing.T) {
	latencies, shares := logarithmic(0.001, 1), percentiles(4)
	for _, test := range []struct {
		name      string
		scale     scale
		value, at float64
	}{
		{"start", linear(10, short), 0, 0}, {"middle", linear(10, short), 5, 0.5}, {"end", linear(10, short), 10, 1},
		{"before", linear(10, short), -1, 0}, {"beyond", linear(10, short), 1e300, 1},
		{"first decade", latencies, 0.01, 1. / 3}, {"no latency", latencies, 0, 0}, {"long", latencies, 60, 1},
		{"none", shares, 0, 0}, {"ninety", shares, 0.9, 0.25}, {"ninety-nine", shares, 0.99, 0.5}, {"all", shares, 1, 1},
	} {
		if got := test.scale.at(test.value); math.Abs(got-test.at) > 1e-9 {
			t.Errorf("%s: %g is at %g, want %g", test.name, test.value, got, test.at)
		}
	}
}
