package logger

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Handler collects. It is there before the registry is.
type metrics struct {
	lines      *prometheus.CounterVec
	suppressed prometheus.Counter
	// debug to fail are lines by level.
	debug, info, warn, fail prometheus.Counter
}

func newMetrics() *metrics {
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "spillway_logger_lines_total",
		Help: "Lines written to the log output, by level.",
	}, []string{"level"})
	return &metrics{
		lines: lines,
		suppressed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_logger_suppressed_lines_total",
			Help: "Lines left out of the log output because their message had just been written.",
		}),
		debug: lines.WithLabelValues("debug"), info: lines.WithLabelValues("info"),
		warn: lines.WithLabelValues("warn"), fail: lines.WithLabelValues("error"),
	}
}

// wrote counts a line.
func (m *metrics) wrote(level slog.Level) {
	switch {
	case level < slog.LevelInfo:
		m.debug.Inc()
	case level < slog.LevelWarn:
		m.info.Inc()
	case level < slog.LevelError:
		m.warn.Inc()
	default:
		m.fail.Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	m.lines.Describe(to)
	m.suppressed.Describe(to)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.lines.Collect(to)
	m.suppressed.Collect(to)
}
