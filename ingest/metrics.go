package ingest

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// codes are all answers there are.
var codes = [...]int{200, 400, 401, 403, 404, 405, 408, 413, 431, 503}

// ackBuckets, in seconds, have the bounds Meta asks for: 0.25 and 1.
var ackBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Why a request was answered 503, as the metric has it.
const (
	unavailableLog      = "log"
	unavailableOverload = "overload"
	unavailableInFlight = "in_flight"
	unavailableStopping = "stopping"
)

type metrics struct {
	requests map[int]prometheus.Counter
	ack      prometheus.Histogram
	taken    prometheus.Counter
	refused  prometheus.Counter
	// unavailable is by reason.
	unavailable map[string]prometheus.Counter
}

// newMetrics registers all metrics; lent, open and waiting are asked for gauges.
func newMetrics(reg prometheus.Registerer, lent, open, waiting func() float64) (*metrics, error) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_ingest_requests_total",
		Help: "Requests answered, by status code; those for WebSockets not counted.",
	}, []string{"code"})
	unavailable := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_ingest_unavailable_total",
		Help: "Requests answered 503, by reason: the log refused, too long a wait for it, limits.in_flight, or shutting down.",
	}, []string{"reason"})
	m := &metrics{
		unavailable: make(map[string]prometheus.Counter),
		requests:    make(map[int]prometheus.Counter, len(codes)),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_ingest_ack_seconds",
			Help:    "Time from a webhook's header to its 200, the body's way and the log's sync included.",
			Buckets: ackBuckets,
		}),
		taken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_ingest_body_bytes_total",
			Help: "Bytes of the bodies that were answered with 200.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_ingest_connections_refused_total",
			Help: "Connections refused because limits.connections were open.",
		}),
	}
	for _, code := range codes {
		m.requests[code] = requests.WithLabelValues(strconv.Itoa(code))
	}
	for _, reason := range []string{unavailableLog, unavailableOverload, unavailableInFlight, unavailableStopping} {
		m.unavailable[reason] = unavailable.WithLabelValues(reason)
	}
	for _, c := range []prometheus.Collector{
		requests, unavailable, m.ack, m.taken, m.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_ingest_in_flight_bytes",
			Help: "Memory that holds bodies which are read or wait for the log.",
		}, lent),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_ingest_connections",
			Help: "Open connections, those that became WebSockets not counted.",
		}, open),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_ingest_waiting",
			Help: "Webhooks that wait for the log.",
		}, waiting),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// answered counts an answer.
func (m *metrics) answered(code int) {
	if counter, ok := m.requests[code]; ok {
		counter.Inc()
	}
}
