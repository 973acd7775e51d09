package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// The operations, as metrics name them. Upkeep is what the store does by itself.
const (
	opApply   = "apply"
	opClaim   = "claim"
	opCursors = "cursors"
	opRead    = "read"
	opContact = "contact"
	opUpkeep  = "upkeep"
)

type metrics struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec

	reg        prometheus.Registerer
	registered []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_store_seconds",
			Help:    "Time a call to the store took, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}, []string{"op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_store_errors_total",
			Help: "Operations of the store that failed.",
		}, []string{"op"}),
	}
	for _, op := range []string{opApply, opClaim, opCursors} {
		m.seconds.WithLabelValues(op)
	}
	for _, op := range []string{opApply, opClaim, opCursors, opRead, opContact, opUpkeep} {
		m.errors.WithLabelValues(op)
	}
	return m
}

// register hands the metrics of s to reg, which may be nil.
func (m *metrics) register(s *Store, reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	m.reg = reg
	for _, c := range []prometheus.Collector{
		m.seconds,
		m.errors,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_stream_entries",
			Help: "Events the streams hold.",
		}, func() float64 { count, _ := s.places.size(); return float64(count) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_stream_bytes",
			Help: "Bytes of the events the streams hold, before compression.",
		}, func() float64 { _, bytes := s.places.size(); return float64(bytes) }),
	} {
		if err := reg.Register(c); err != nil {
			m.unregister()
			return fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

// unregister lets the store be opened again with the same Registerer.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.reg.Unregister(c)
	}
	m.registered = nil
}

// observe counts a call. One that its caller gave up is no error of the store's,
// nor is a contact that is not known.
func (m *metrics) observe(op string, took time.Duration, err error) {
	if op == opApply || op == opClaim || op == opCursors {
		m.seconds.WithLabelValues(op).Observe(took.Seconds())
	}
	for _, harmless := range []error{nil, context.Canceled, context.DeadlineExceeded, store.ErrNoContact} {
		if errors.Is(err, harmless) {
			return
		}
	}
	m.errors.WithLabelValues(op).Inc()
}
