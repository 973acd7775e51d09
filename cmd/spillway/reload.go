package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"spillway/cmd/spillway/config"
)

// reloads are configs that were read again, on their way to the receiver.
type reloads struct {
	// next holds one.
	next chan config.Config

	counted    *prometheus.CounterVec
	last, good prometheus.Gauge
}

func newReloads() *reloads {
	r := &reloads{
		next: make(chan config.Config, 1),
		counted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_config_reloads_total",
			Help: "Times SIGHUP had the config read again, by result; where it failed nothing has changed.",
		}, []string{"result"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_config_last_reload_timestamp_seconds",
			Help: "When the config in use was read, as Unix time.",
		}),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_config_last_reload_successful",
			Help: "0 where the last SIGHUP changed nothing, since the config is wrong; else 1.",
		}),
	}
	r.good.Set(1)
	r.counted.WithLabelValues("failed")
	r.counted.WithLabelValues("ok")
	r.last.SetToCurrentTime() // the start's
	return r
}

// offer leaves cfg in the place of an older one that nobody took. It never waits, so
// that the next signal is heard; one goroutine may call it.
func (r *reloads) offer(cfg config.Config) {
	select {
	case <-r.next:
	default:
	}
	r.next <- cfg
}

// count counts a reload, by its error.
func (r *reloads) count(err error) {
	if err != nil {
		r.counted.WithLabelValues("failed").Inc()
		r.good.Set(0)
		return
	}
	r.counted.WithLabelValues("ok").Inc()
	r.last.SetToCurrentTime()
	r.good.Set(1)
}

// Describe implements prometheus.Collector.
func (r *reloads) Describe(ch chan<- *prometheus.Desc) {
	r.counted.Describe(ch)
	r.last.Describe(ch)
	r.good.Describe(ch)
}

// Collect implements prometheus.Collector.
func (r *reloads) Collect(ch chan<- prometheus.Metric) {
	r.counted.Collect(ch)
	r.last.Collect(ch)
	r.good.Collect(ch)
}
