package wal

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the log counts, and gauges that look when they are asked.
type metrics struct {
	reg        prometheus.Registerer
	collectors []prometheus.Collector

	commitSeconds prometheus.Histogram
	commitRecords prometheus.Histogram
	refused       map[string]prometheus.Counter
}

// Native histograms stand beside the classic ones: buckets a tenth apart, or wider
// where that would be more than so many. They are never begun anew, for the classic
// ones would be too.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

func newMetrics(reg prometheus.Registerer, l *Log) (*metrics, error) {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &metrics{
		reg: reg,
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_log_commit_seconds",
			Help:    "Time to write and sync one batch.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}),
		commitRecords: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_log_commit_records",
			Help:    "Records in one batch.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 14),

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}),
		refused: map[string]prometheus.Counter{},
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_log_refused_total",
		Help: "Records refused, by reason.",
	}, []string{"reason"})
	for _, reason := range refusals {
		m.refused[reason] = refused.WithLabelValues(reason)
	}
	m.collectors = append(m.collectors, m.commitSeconds, m.commitRecords, refused)
	m.addGauges(l)
	for i, c := range m.collectors {
		if err := reg.Register(c); err != nil {
			m.collectors = m.collectors[:i]
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) addGauges(l *Log) {
	for _, lane := range Lanes {
		state := l.lanes[lane]
		labels, head := prometheus.Labels{"lane": lane.String()}, l.Head(lane)
		m.counter("spillway_log_appended_records_total", "Records appended since the start.", labels, func() float64 {
			return float64(l.Head(lane) - head)
		})
		m.counter("spillway_log_appended_bytes_total", "Bytes of the records appended since the start.", labels, func() float64 {
			return float64(state.end.Load() - state.opened)
		})
		m.gauge("spillway_log_records", "Records kept.", labels, func() float64 {
			first := l.First(lane)
			return float64(l.Head(lane) + 1 - first)
		})
		m.gauge("spillway_log_bytes", "Bytes of the records kept.", labels, func() float64 {
			return float64(state.kept())
		})
		m.gauge("spillway_log_unreleased_records", "Records not released yet.", labels, func() float64 {
			released := l.Released(lane)
			return float64(l.Head(lane) - released)
		})
		m.gauge("spillway_log_unreleased_bytes", "Bytes of the records not released yet.", labels, func() float64 {
			return float64(state.unreleased())
		})
		m.gauge("spillway_log_oldest_seconds", "Age of the oldest record kept, 0 without one.", labels, func() float64 {
			return l.age(state.oldest.Load())
		})
	}
	m.gauge("spillway_log_dead_letters", "Dead letters kept.", nil, func() float64 {
		return float64(l.deadCount.Load())
	})
	m.gauge("spillway_log_dead_letters_bytes", "Bytes of the dead letters kept.", nil, func() float64 {
		return float64(l.deadBytes.Load())
	})
	m.gauge("spillway_log_queue_requests", "Requests that wait for the next batch.", nil, func() float64 {
		return float64(l.queue.len())
	})
	m.gauge("spillway_log_limit_bytes", "log.max_bytes: the bytes of records not released from which on webhooks are refused.", nil, func() float64 {
		return float64(l.config.MaxBytes)
	})
	m.gauge("spillway_log_min_free_bytes", "log.min_free: the free space below which webhooks are refused.", nil, func() float64 {
		return float64(l.config.MinFree)
	})
	m.gauge("spillway_log_commit_running_seconds", "How long the batch that is being written and synced has taken so far, 0 without one.", nil, func() float64 {
		if began := l.committing.Load(); began != 0 {
			return time.Since(time.Unix(0, began)).Seconds()
		}
		return 0
	})
	m.gauge("spillway_log_free_bytes", "Free space on the log's disk, less what was written since it was asked.", nil, func() float64 {
		if free := l.space.free.Load(); free != math.MaxInt64 {
			return float64(free)
		}
		return math.NaN()
	})
}

func (m *metrics) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	m.collectors = append(m.collectors, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

func (m *metrics) counter(name, help string, labels prometheus.Labels, value func() float64) {
	m.collectors = append(m.collectors, prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, value))
}

// age is the seconds since a time in Unix nanoseconds, 0 for 0.
func (l *Log) age(nanoseconds int64) float64 {
	if nanoseconds == 0 {
		return 0
	}
	return max(l.config.now().Sub(time.Unix(0, nanoseconds)).Seconds(), 0)
}

func (m *metrics) refuse(reason string) { m.refused[reason].Inc() }

// unregister frees the names for the next log.
func (m *metrics) unregister() {
	for _, c := range m.collectors {
		m.reg.Unregister(c)
	}
}
