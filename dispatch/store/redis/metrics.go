package redis

import (
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store/calls"
)

// The operations, as metrics name them.
const (
	opApply   = "apply"
	opClaim   = "claim"
	opCursors = "cursors"
	opRead    = "read"
	opContact = "contact"
)

type metrics struct {
	*calls.Metrics
	reloads   prometheus.Counter
	conflicts prometheus.Counter
	guessed   prometheus.Counter
	entries   prometheus.Gauge
	groupLag  *prometheus.GaugeVec
	groupLost *prometheus.GaugeVec
}

func newMetrics(s *Store, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		Metrics: calls.New([]string{opApply, opClaim, opCursors}, []string{opRead, opContact}),
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
	return m, m.Register(reg, m.reloads, m.conflicts, m.guessed, m.entries, m.groupLag, m.groupLost, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_store_connections",
		Help: "Connections to Redis servers.",
	}, func() float64 { return float64(s.client.PoolStats().TotalConns) }))
}
