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

// Native histograms stand beside the classic ones: buckets a tenth apart, or wider
// where that would be more than so many. They are never begun anew, for the classic
// ones would be too.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

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

// newMetrics registers all metrics; gauges ask s.
func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
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

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
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
		gauge("in_flight_bytes", "Memory that holds bodies which are read or wait for the log.", func() float64 {
			return float64(s.buffers.inFlight.Load())
		}),
		gauge("in_flight_limit_bytes", "limits.in_flight: beyond it webhooks are refused.", func() float64 {
			return float64(s.cfg.MaxInFlight)
		}),
		gauge("connections", "Open connections, those that became WebSockets not counted.", func() float64 {
			return float64(s.connections.count())
		}),
		gauge("connections_limit", "limits.connections: one more is refused.", func() float64 {
			return float64(s.cfg.MaxConnections)
		}),
		gauge("waiting", "Webhooks that wait for the log.", func() float64 {
			return float64(s.admission.waiting())
		}),
		certificateExpiry{s},
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

func gauge(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "spillway_ingest_" + name, Help: help}, value)
}

// certificateExpiry tells when the certificate in use ends, and nothing without TLS.
type certificateExpiry struct{ server *Server }

var expiryDesc = prometheus.NewDesc("spillway_ingest_certificate_expiry_timestamp_seconds",
	"When tls.cert expires, as Unix time; absent without TLS.", nil, nil)

func (c certificateExpiry) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc }

func (c certificateExpiry) Collect(ch chan<- prometheus.Metric) {
	secure := c.server.trust.Load().secure
	if secure == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(secure.Certificates[0].Leaf.NotAfter.Unix()))
}
