// Package calls counts what is asked of a store: the metrics that all stores
// have in common.
package calls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// Native histograms stand beside the classic ones: buckets a tenth apart, or wider
// where that would be more than so many. They are never begun anew, for the classic
// ones would be too.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

// Metrics are the calls to a store, by operation.
type Metrics struct {
	timed   []string
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec

	reg        prometheus.Registerer
	registered []prometheus.Collector
}

// New makes the metrics of operations that are timed and of others whose errors
// alone count.
func New(timed, others []string) *Metrics {
	m := &Metrics{
		timed: timed,
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_store_seconds",
			Help:    "Time a call to the store took, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}, []string{"op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_store_errors_total",
			Help: "Operations of the store that failed.",
		}, []string{"op"}),
	}
	for _, op := range timed {
		m.seconds.WithLabelValues(op)
	}
	for _, op := range slices.Concat(timed, others) {
		m.errors.WithLabelValues(op)
	}
	return m
}

// Register hands these metrics and a store's own to reg, which may be nil.
func (m *Metrics) Register(reg prometheus.Registerer, own ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	m.reg = reg
	for _, c := range append([]prometheus.Collector{m.seconds, m.errors}, own...) {
		if err := reg.Register(c); err != nil {
			m.Unregister()
			return fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

// Unregister lets a store be opened again with the same Registerer.
func (m *Metrics) Unregister() {
	for _, c := range m.registered {
		m.reg.Unregister(c)
	}
	m.registered = nil
}

// Failed counts an error of what is no call.
func (m *Metrics) Failed(op string) { m.errors.WithLabelValues(op).Inc() }

// Observe counts a call. One that its caller gave up is no error of the store's,
// nor is a contact that is not known, a cursor that is another one, or a share that
// another receiver has.
func (m *Metrics) Observe(op string, took time.Duration, err error) {
	if slices.Contains(m.timed, op) {
		m.seconds.WithLabelValues(op).Observe(took.Seconds())
	}
	for _, harmless := range []error{nil, context.Canceled, store.ErrNoContact, store.ErrLeased, store.ErrFenced} {
		if errors.Is(err, harmless) {
			return
		}
	}
	if differs := (*store.CursorError)(nil); errors.As(err, &differs) {
		return
	}
	m.errors.WithLabelValues(op).Inc()
}
