package embedded

import (
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store/calls"
)

// The operations, as metrics name them. Deliver is all of deliveries but their
// settlements. Upkeep is what the store does by itself.
const (
	opApply   = "apply"
	opClaim   = "claim"
	opCursors = "cursors"
	opRead    = "read"
	opContact = "contact"
	opSettle  = "settle"
	opDeliver = "deliver"
	opUpkeep  = "upkeep"
)

type metrics struct{ *calls.Metrics }

func newMetrics() *metrics {
	return &metrics{calls.New([]string{opApply, opClaim, opCursors, opSettle}, []string{opRead, opContact, opDeliver, opUpkeep})}
}

// register hands the metrics of s to reg, which may be nil.
func (m *metrics) register(s *Store, reg prometheus.Registerer) error {
	return m.Register(reg,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_stream_entries",
			Help: "Events the streams hold.",
		}, func() float64 { count, _ := s.places.size(); return float64(count) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_stream_bytes",
			Help: "Bytes of the events the streams hold, before compression.",
		}, func() float64 { _, bytes := s.places.size(); return float64(bytes) }),
	)
}
