package stream

import (
	"fmt"
	"strconv"

	"github.com/fasthttp/websocket"
	"github.com/prometheus/client_golang/prometheus"
)

// knownCodes are the values of the label code, beside "other".
var knownCodes = []int{
	websocket.CloseNormalClosure, websocket.CloseGoingAway, noStatus, abnormal,
	websocket.CloseProtocolError, websocket.CloseInvalidFramePayloadData, websocket.ClosePolicyViolation, websocket.CloseMessageTooBig,
	restarting, tryLater, CodeToken, CodeSlow, CodeSince,
}

// Native histograms stand beside the classic ones: buckets a tenth apart, or wider
// where that would be more than so many. They are never begun anew, for the classic
// ones would be too.
const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

type metrics struct {
	sockets    prometheus.Gauge
	catching   prometheus.Gauge
	frames     prometheus.Counter
	bytes      prometheus.Counter
	slow       prometheus.Counter
	overruns   prometheus.Counter
	refused    prometheus.Counter
	feedErrors prometheus.Counter
	rewinds    prometheus.Counter
	queue      prometheus.Histogram
	delay      prometheus.Histogram
	closes     *prometheus.CounterVec
}

// newMetrics registers all metrics; sockets is the limit of them.
func newMetrics(reg prometheus.Registerer, sockets int) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "spillway_stream_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "spillway_stream_" + name, Help: help})
	}
	m := &metrics{
		sockets:    gauge("sockets", "WebSockets open."),
		catching:   gauge("catching_up", "WebSockets that read from the store what they missed."),
		frames:     counter("frames_total", "Events written to WebSockets."),
		bytes:      counter("sent_bytes_total", "Bytes written to WebSockets."),
		slow:       counter("slow_closes_total", "WebSockets closed because their reader was too slow."),
		overruns:   counter("overruns_total", "Times a live WebSocket's queue ran full."),
		refused:    counter("refused_total", "WebSockets refused with 503: limit reached, or shutting down."),
		feedErrors: counter("feed_errors_total", "Times following the store failed and was begun again."),
		rewinds:    counter("rewinds_total", "Times the store had lost the end of its event stream, and WebSockets read again."),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_stream_queue_frames",
			Help:    "Events in a live WebSocket's queue when its writer looked.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "spillway_stream_write_delay_seconds",
			Help:    "Time from reading an event from the store to its write to a live WebSocket; a sample: the oldest event of one write in 16 where many are due at once.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_stream_closes_total", Help: "WebSockets closed, by close code.",
		}, []string{"code"}),
	}
	for _, code := range knownCodes {
		m.closes.WithLabelValues(strconv.Itoa(code))
	}
	m.closes.WithLabelValues("other")
	for _, c := range []prometheus.Collector{
		m.sockets, m.catching, m.frames, m.bytes, m.slow, m.overruns, m.refused, m.feedErrors, m.rewinds, m.queue, m.delay, m.closes,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "spillway_stream_sockets_limit", Help: "stream.sockets: one more WebSocket is refused.",
		}, func() float64 { return float64(sockets) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register stream metrics: %w", err)
		}
	}
	return m, nil
}

// closed counts a socket that ended.
func (m *metrics) closed(end *ending) {
	m.closes.WithLabelValues(codeLabel(end.code)).Inc()
	if end.slow {
		m.slow.Inc()
	}
}

// codeLabel bounds the label: a peer may close with any code it likes.
func codeLabel(code int) string {
	for _, known := range knownCodes {
		if code == known {
			return strconv.Itoa(code)
		}
	}
	return "other"
}
