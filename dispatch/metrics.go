package dispatch

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/wal"
)

// metrics are what dispatching counts.
type metrics struct {
	lag        *prometheus.GaugeVec
	delivery   *prometheus.HistogramVec
	events     *prometheus.CounterVec
	rewinds    *prometheus.CounterVec
	reapplied  *prometheus.CounterVec
	gapRecords *prometheus.CounterVec
	renewals   prometheus.Counter
	retries    *prometheus.CounterVec
	held       *prometheus.GaugeVec
}

const (
	// outcomeDead is the outcome of what could not be decoded; its type is unknown.
	outcomeDead = "dead"
	typeUnknown = "unknown"
	// typeChange stands for every webhook:FIELD, so that no field Meta may add
	// makes a new series.
	typeChange = event.WebhookPrefix + "*"
)

// Native histograms stand beside the classic ones: buckets a tenth apart, or wider
// where that would be more than so many. They are never begun anew, for the classic
// ones would be too.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_dispatch_lag_seconds",
			Help: "Age of the oldest record that has not yet taken effect in every partition, 0 where there is none.",
		}, []string{"lane"}),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_dispatch_delivery_seconds",
			Help:    "Time from the receipt of a webhook until its events took effect: the longest of each batch and partition.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}, []string{"lane"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_events_total",
			Help: "Events by type and outcome: fresh, duplicate, stale, or dead for what could not be decoded.",
		}, []string{"type", "outcome"}),
		rewinds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_dispatch_rewinds_total",
			Help: "Times a partition of the store was found older than it had confirmed, and was applied again.",
		}, []string{"lane"}),
		reapplied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_dispatch_reapplied_events_total",
			Help: "Events that were applied again, because the store had confirmed and then lost them.",
		}, []string{"lane"}),
		gapRecords: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_dispatch_gap_records_total",
			Help: "Records that the store lacks and the log no longer holds.",
		}, []string{"lane"}),
		renewals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_dispatch_log_renewals_total",
			Help: "Times the store's cursor was not of this log, so that all records kept were applied again.",
		}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_dispatch_retries_total",
			Help: "Calls to the store that failed and are made again.",
		}, []string{"lane"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_dispatch_held_partitions",
			Help: "Partitions whose last call to the store failed, and that wait to be tried again.",
		}, []string{"lane"}),
	}
	reg.MustRegister(m.lag, m.delivery, m.events, m.rewinds, m.reapplied, m.gapRecords, m.renewals, m.retries, m.held)
	for _, lane := range wal.Lanes {
		m.lag.WithLabelValues(lane.String())
		m.delivery.WithLabelValues(lane.String())
		m.rewinds.WithLabelValues(lane.String())
		m.reapplied.WithLabelValues(lane.String())
		m.gapRecords.WithLabelValues(lane.String())
		m.retries.WithLabelValues(lane.String())
		m.held.WithLabelValues(lane.String())
	}
	for _, outcome := range store.Outcomes {
		for _, t := range []string{event.MessageNew, event.MessageStatus, typeChange} {
			m.events.WithLabelValues(t, outcome)
		}
	}
	m.events.WithLabelValues(event.ContactNew, store.Outcomes[store.Fresh])
	m.events.WithLabelValues(event.ContactUpdated, store.Outcomes[store.Fresh])
	m.events.WithLabelValues(typeUnknown, outcomeDead)
	return m
}

// applied counts a step that took effect.
func (m *metrics) applied(lane wal.Lane, events []event.Event, result store.Result) {
	for i, outcome := range result.Outcomes {
		t := events[i].Type
		if t != event.MessageNew && t != event.MessageStatus {
			t = typeChange
		}
		m.events.WithLabelValues(t, store.Outcomes[outcome]).Inc()
	}
	fresh := store.Outcomes[store.Fresh]
	m.events.WithLabelValues(event.ContactNew, fresh).Add(float64(result.ContactsNew))
	m.events.WithLabelValues(event.ContactUpdated, fresh).Add(float64(result.ContactsUpdated))
	if len(events) > 0 {
		m.delivery.WithLabelValues(lane.String()).Observe(time.Since(events[0].Received).Seconds())
	}
}

// dead counts items that could not be decoded.
func (m *metrics) dead(items int) {
	m.events.WithLabelValues(typeUnknown, outcomeDead).Add(float64(items))
}
