package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// knownMetrics are the metrics that a receiver has, with either store.
func knownMetrics(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// elsewhere are the metrics that Prometheus and client_golang add.
var elsewhere = []string{
	"up", "ALERTS",
	"go_gc_duration_seconds", "go_goroutines", "go_memstats_heap_inuse_bytes",
	"process_cpu_seconds_total", "process_max_fds", "process_open_fds",
	"process_resident_memory_bytes", "process_start_time_seconds",
}

var (
	// noMetric is what holds names that are none: matchers, ranges, and labels.
	noMetric = regexp.MustCompile(`\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	name     = regexp.MustCompile(`\b[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	keywords = []string{"and", "or", "unless", "bool", "offset"}
)

// metricsOf are the metrics that an expression names.
func metricsOf(expr string) []string {
	var found []string
	for _, word := range name.FindAllString(noMetric.ReplaceAllString(expr, " "), -1) {
		word = strings.TrimSpace(word)
		// Functions and aggregations open a parenthesis, or have had their labels taken from before it.
		if strings.HasSuffix(word, "(") || slices.Contains(keywords, word) {
			continue
		}
		found = append(found, word)
	}
	return found
}

// family is the metric that a series of a histogram belongs to.
func family(series string, known []string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(series, suffix); ok && slices.Contains(known, base) {
			return base
		}
	}
	return series
}

func TestMetricsOf(t *testing.T) {
	expr := `1 - sum by (le, lane) (rate(a_bucket{le=~"1|1.0", code="b"}[$__rate_interval])) / on () group_left () (max without (c) (d) > 1e-9) or vector(0)`
	if got, want := metricsOf(expr), []string{"a_bucket", "d"}; !slices.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}

// Every metric named exists, and every one of ours is looked at by somebody.
func TestMetrics(t *testing.T) {
	known := knownMetrics(t)
	if len(known) < 50 {
		t.Fatalf("only %d metrics known", len(known))
	}
	seen := map[string]bool{}
	eachPanel(t, func(t *testing.T, p *dashboard.Panel) {
		for _, target := range p.Targets {
			metrics := metricsOf(target.(*prometheus.Dataquery).Expr)
			if len(metrics) == 0 {
				t.Errorf("%s: an expression without a metric", *p.Title)
			}
			for _, metric := range metrics {
				base := family(metric, known)
				seen[base] = true
				if !slices.Contains(known, base) && !slices.Contains(elsewhere, base) {
					t.Errorf("%s: there is no metric %s", *p.Title, metric)
				}
			}
		}
	})
	for _, metric := range slices.Concat(known, elsewhere) {
		if !seen[metric] {
			t.Errorf("no panel shows %s", metric)
		}
	}
}
