package deliver

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/deliver/post"
)

const (
	nativeFactor  = 1.1
	nativeBuckets = 160
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	parked   *prometheus.CounterVec
	dead     *prometheus.CounterVec
	trimmed  *prometheus.CounterVec
	fenced   prometheus.Counter
}

// outcomes are the values of the label result.
var outcomes = []post.Outcome{post.Delivered, post.Retry, post.Refused, post.Gone}

func newMetrics(reg prometheus.Registerer, d *Deliverer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_deliver_requests_total",
			Help: "Requests to endpoints, by what came of them and by the class of the status, 0 for none.",
		}, []string{"endpoint", "result", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "spillway_deliver_seconds",
			Help:    "Time a request to an endpoint took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},

			NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets,
		}, []string{"endpoint"}),
		parked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_deliver_parked_total",
			Help: "Deliveries that were put aside to be tried later.",
		}, []string{"endpoint"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_deliver_dead_total",
			Help: "Deliveries that were given up.",
		}, []string{"endpoint"}),
		trimmed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_deliver_trimmed_total",
			Help: "Times events were trimmed from a partition before the endpoint was told of them.",
		}, []string{"endpoint"}),
		fenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_deliver_fenced_total",
			Help: "Times a share was found to be another receiver's, or the store to have gone back.",
		}),
	}
	shares := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_deliver_shares",
		Help: "Partitions of endpoints that this receiver delivers.",
	}, func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(len(d.shares))
	})
	for _, c := range []prometheus.Collector{shares, gauges{d}, m.requests, m.seconds, m.parked, m.dead, m.trimmed, m.fenced} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of deliveries: %w", err)
		}
	}
	return m, nil
}

// endpointMetrics are one endpoint's.
type endpointMetrics struct {
	name         string
	all          *metrics
	seconds      prometheus.Observer
	parked, dead prometheus.Counter
}

func (m *metrics) of(name string) endpointMetrics {
	for _, outcome := range outcomes {
		for class := range classes {
			m.requests.WithLabelValues(name, outcome.String(), strconv.Itoa(class))
		}
	}
	m.trimmed.WithLabelValues(name)
	return endpointMetrics{
		name: name, all: m, seconds: m.seconds.WithLabelValues(name),
		parked: m.parked.WithLabelValues(name), dead: m.dead.WithLabelValues(name),
	}
}

// sent counts a request.
func (m *endpointMetrics) sent(r post.Result) {
	m.seconds.Observe(r.Took.Seconds())
	m.all.requests.WithLabelValues(m.name, r.Outcome.String(), strconv.Itoa(min(r.Code/100, classes-1))).Inc()
}

// classes of status codes there are: 0 for no answer, 5 for all from 500 on.
const classes = 6

// gauges look at the endpoints when they are asked.
type gauges struct{ d *Deliverer }

func endpointDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("spillway_deliver_"+name, help, []string{"endpoint"}, nil)
}

var (
	waitingDesc = endpointDesc("waiting", "Deliveries that wait, of the partitions that this receiver delivers.")
	oldestDesc  = endpointDesc("oldest_seconds", "Age of the oldest delivery that waits, from its first try, 0 without one.")
	breakerDesc = endpointDesc("breaker_open", "1 where the endpoint fails and is let alone for a while.")
	pausedDesc  = endpointDesc("paused", "1 where the endpoint is paused, by an operator or since it answered 410.")
	deadDesc    = endpointDesc("dead", "Dead deliveries kept, of all partitions, when they were last counted.")
)

// Describe implements prometheus.Collector.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{waitingDesc, oldestDesc, breakerDesc, pausedDesc, deadDesc} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, e := range g.d.current() {
		status := Status{Name: e.cfg.Name}
		g.d.addShares(&status)
		oldest := 0.0
		if !status.Oldest.IsZero() {
			oldest = max(0, now.Sub(status.Oldest).Seconds())
		}
		for desc, value := range map[*prometheus.Desc]float64{
			waitingDesc: float64(status.Waiting), oldestDesc: oldest, breakerDesc: indicator(e.breaker.State() != "closed"),
			pausedDesc: indicator(e.paused.Load()), deadDesc: float64(e.dead.Load()),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, e.cfg.Name)
		}
	}
}

func indicator(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
