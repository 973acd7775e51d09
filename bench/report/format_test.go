package report

import (
	"math"
	"strings"
	"testing"
)

func TestFormats(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{"count", count(0), "0"},
		{"count", count(999), "999"},
		{"count", count(12_345), "12,345"},
		{"count", count(1_234_567), "1,234,567"},
		{"count", count(-1_234), "−1,234"},
		{"count", count(math.MinInt64), "−9,223,372,036,854,775,808"},
		{"figure", figure(3.14159), "3.14"},
		{"figure", figure(99.97), "100"},
		{"figure", figure(3_300.4), "3,300"},
		{"figure", figure(1e300), "1,000,000,000,000,000"},
		{"short", short(9_999), "9,999"},
		{"short", short(12_500), "12.5k"},
		{"short", short(1_500_000), "1.5M"},
		{"latency", latency(0), "0 s"},
		{"latency", latency(0.00035), "350 µs"},
		{"latency", latency(0.0042), "4.2 ms"},
		{"latency", latency(0.25), "250 ms"},
		{"latency", latency(0.99949), "999 ms"},
		{"latency", latency(0.9996), "1 s"},
		{"latency", latency(1.234), "1.23 s"},
		{"latency", latency(1_234), "1,234 s"},
		{"quantile", quantile(0), "–"},
		{"percent", percent(0), "0 %"},
		{"percent", percent(0.0123), "1.23 %"},
		{"percent", percent(0.00001), "< 0.01 %"},
		{"span", span(45.2), "45.2 s"},
		{"span", span(125), "2 min 5 s"},
		{"span", span(300.4), "5 min"},
		{"span", span(3_900), "1 h 5 min"},
		{"span", span(math.MaxFloat64), "277777 h 47 min"},
		{"clock", clock(15, 40), "15 s"},
		{"clock", clock(150, 300), "2:30"},
		{"clock", clock(3_750, 4_000), "1:02:30"},
	} {
		if got := strings.ReplaceAll(test.got, "\u00a0", " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
