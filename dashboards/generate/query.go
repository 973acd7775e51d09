package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// query is an expression, and what its series are called.
type query struct {
	// expr is PromQL in which {@} stands for the receivers that are chosen and
	// [@] for the shortest range that has a rate: rate(a_total{@,code="200"}[@]).
	expr string
	// legend names a series, with {{label}} for the value of a label.
	legend string
}

var written = strings.NewReplacer(
	"{@", `{job=~"$job",instance=~"$instance"`,
	"[@]", "[$__rate_interval]",
)

func q(expr, legend string) query { return query{expr, legend} }

// quantiles are the median and the 99th percentile of a histogram, apart by the
// labels given. Without observations there is no series.
func quantiles(histogram, labels string) []query {
	by, name := "le", ""
	if labels != "" {
		by = "le, " + labels
		name = " {{" + strings.ReplaceAll(labels, ", ", "}} {{") + "}}"
	}
	one := func(quantile string) string {
		return fmt.Sprintf("histogram_quantile(%s, sum by (%s) (rate(%s_bucket{@}[@]))) >= 0", quantile, by, histogram)
	}
	return []query{{one("0.5"), "p50" + name}, {one("0.99"), "p99" + name}}
}

// p99 is the second of quantiles alone.
func p99(histogram, labels string) query { return quantiles(histogram, labels)[1] }

// buckets are the observations between two bounds, for a heat map.
func buckets(histogram, matchers string) query {
	return query{fmt.Sprintf("sum by (le) (increase(%s_bucket{@%s}[@]))", histogram, matchers), "{{le}}"}
}

// target is the query for Grafana. Panels of one value ask for the value of
// now: a range would show the last one of a receiver that is gone.
func (q query) target(index int, kind kind) *prometheus.DataqueryBuilder {
	target := prometheus.NewDataqueryBuilder().
		RefId(string(rune('A' + index))).
		Datasource(*source()).
		Expr(written.Replace(q.expr)).
		EditorMode(prometheus.QueryEditorModeCode).
		LegendFormat(q.legend)
	switch kind {
	case lines, cells:
		target.Range()
	default:
		target.Instant()
	}
	switch kind {
	case cells:
		target.Format(prometheus.PromQueryFormatHeatmap)
	case rowsOf:
		target.Format(prometheus.PromQueryFormatTable)
	default:
		target.Format(prometheus.PromQueryFormatTimeSeries)
	}
	return target
}
