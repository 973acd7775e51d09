package trace

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// logInterval is the time between two lines about a collector that takes nothing.
const logInterval = time.Minute

// exporter sends batches of spans, one after the other, and says seldom where that
// fails: what it cannot send is dropped.
type exporter struct {
	collector sdk.SpanExporter
	logger    *slog.Logger

	// aborted ends when no more is to be sent; closed is closed at the end.
	aborted context.Context
	abort   context.CancelFunc
	closed  chan struct{}

	mu     sync.Mutex
	lost   int // spans, since that was last logged
	logged time.Time
}

func newExporter(collector sdk.SpanExporter, logger *slog.Logger) *exporter {
	e := &exporter{collector: collector, logger: logger, closed: make(chan struct{})}
	e.aborted, e.abort = context.WithCancel(context.Background())
	return e
}

// ExportSpans never fails: the SDK would only log that, as it is.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.aborted, cancel)()
	if err := e.collector.ExportSpans(ctx, spans); err != nil {
		e.failed(err, len(spans))
	}
	return nil
}

// Shutdown is called once, when all was exported.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.closed)
	defer e.abort()
	return e.collector.Shutdown(ctx)
}

func (e *exporter) failed(err error, spans int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += spans
	if time.Since(e.logged) < logInterval {
		return
	}
	// What a collector answers may repeat what it was sent, headers too.
	text, _, _ := strings.Cut(err.Error(), "body: ")
	e.logger.Warn("traces are lost: the collector of tracing.endpoint does not take them", "spans", e.lost, "error", text)
	e.lost, e.logged = 0, time.Now()
}

// quieten has the SDK tell what is wrong with its variables, but not what is in
// them: a header's value may be a secret.
func quieten(logger *slog.Logger) {
	otel.SetLogger(logr.New(sink{logger}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {
		logger.Warn("tracing: a part of the OpenTelemetry SDK failed")
	}))
}

// sink is a logr.LogSink that passes on the messages of errors alone.
type sink struct{ logger *slog.Logger }

func (sink) Init(logr.RuntimeInfo)            {}
func (sink) Enabled(int) bool                 { return false }
func (sink) Info(int, string, ...any)         {}
func (s sink) WithValues(...any) logr.LogSink { return s }
func (s sink) WithName(string) logr.LogSink   { return s }
func (s sink) Error(_ error, text string, _ ...any) {
	s.logger.Warn("tracing: the OpenTelemetry SDK did not understand a setting", "problem", text)
}
