package redis

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store/calls"
)

// The operations, as metrics name them. Deliver is all of deliveries but their
// settlements.
const (
	opApply   = "apply"
	opClaim   = "claim"
	opCursors = "cursors"
	opRead    = "read"
	opContact = "contact"
	opSettle  = "settle"
	opDeliver = "deliver"
)

var (
	timedOps = []string{opApply, opClaim, opCursors, opSettle}
	otherOps = []string{opRead, opContact, opDeliver}
)

type metrics struct {
	*calls.Metrics
	timeouts  *prometheus.CounterVec
	dials     prometheus.Counter
	warnings  prometheus.Gauge
	reloads   prometheus.Counter
	conflicts prometheus.Counter
	guessed   prometheus.Counter
	entries   prometheus.Gauge
	groupLag  *prometheus.GaugeVec
	groupLost *prometheus.GaugeVec
}

func newMetrics(s *Store, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		Metrics: calls.New(timedOps, otherOps),
		timeouts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_store_timeouts_total",
			Help: "Calls that Redis did not answer in time.",
		}, []string{"op"}),
		dials: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_store_dials_total",
			Help: "Connections made to Redis servers.",
		}),
		warnings: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_store_warnings",
			Help: "What of the Redis servers' settings may lose keys or waste memory; the log says what.",
		}),
		reloads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_store_script_loads_total",
			Help: "Scripts that a Redis server did not know and was sent: it is new, was restarted or failed over.",
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_store_conflicts_total",
			Help: "Batches and claims that were built again, because others had changed a contact or seen a message meanwhile.",
		}),
		guessed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_store_contact_guesses_total",
			Help: "Statuses and echoes whose contact could not be looked up for long, and that carry the one of a first sight.",
		}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_stream_entries",
			Help: "Events the streams hold.",
		}),
		groupLag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_stream_group_lag_seconds",
			Help: "Age of the oldest event that no consumer of the group was given, 0 where there is none.",
		}, []string{"group"}),
		groupLost: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_stream_group_lost_partitions",
			Help: "Partitions of which events were trimmed that no consumer of the group was given.",
		}, []string{"group"}),
	}
	for _, op := range slices.Concat(timedOps, otherOps) {
		m.timeouts.WithLabelValues(op)
	}
	return m, m.Register(reg, m.timeouts, m.dials, m.warnings, m.reloads, m.conflicts, m.guessed, m.entries, m.groupLag, m.groupLost,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_store_connections",
			Help: "Connections to Redis servers.",
		}, func() float64 { return float64(s.client.PoolStats().TotalConns) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "spillway_store_pool_timeouts_total",
			Help: "Calls that waited in vain for a connection to a Redis server.",
		}, func() float64 { return float64(s.client.PoolStats().Timeouts) }))
}

// Observe counts a call as calls.Metrics do, and the time-outs among the errors.
func (m *metrics) Observe(op string, took time.Duration, err error) {
	m.Metrics.Observe(op, took, err)
	var failure net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failure) && failure.Timeout() {
		m.timeouts.WithLabelValues(op).Inc()
	}
}
