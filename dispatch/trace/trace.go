// Package trace shows single events on their way, as OpenTelemetry spans.
//
//	intake ──Acked──┐
//	dispatch ─Called┼─▶ spans of the events sampled ─▶ queue ─▶ OTLP over HTTP
//	stream ───Wrote─┘   (all others cost a compare)    (full: dropped)
//
// The trace of an event is named by the event: the trace id is its uid. So whoever
// has an event can find its trace, all receivers and every start sample the same
// events, and nothing has to be kept with an event or passed on beside it. The spans:
//
//	receive          root, span id = the first 8 bytes of the uid: receipt until acked
//	├ dispatch       read from the log until its effect
//	│ └ apply        one call to the store; one more for each that failed
//	├ frame          read from the store until the first socket was sent it; one a receiver
//	└ receive        a redelivery, outcome duplicate, with its own dispatch
//
// Since anybody can tell the root's id, receivers need not know of each other to
// name it. The events contact:new and contact:updated are made by the store: their
// traces are their frames.
//
// No span says who an event is about: there are ids of ours, types, counts and
// times in it, and of an error its kind alone. Nobody waits for a collector: what
// it does not take in time is dropped.
package trace

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	otel "go.opentelemetry.io/otel/trace"
)

// flushTimeout bounds what Close waits for a collector.
const flushTimeout = 3 * time.Second

// Config says what is traced and where it goes. Headers, certificates and
// timeouts are those of the standard variables, OTEL_EXPORTER_OTLP_*.
type Config struct {
	// Endpoint is the base URL of an OTLP/HTTP collector; v1/traces is added where it
	// does not end so.
	Endpoint string
	// Ratio of the events is traced: 0 none, 1 all.
	Ratio float64
	// Version is the program's, Instance what tells this receiver from others, Store
	// the kind of the store.
	Version, Instance, Store string
}

// Tracer makes spans of what it is told. Its methods may be called from many
// goroutines.
type Tracer struct {
	sampler  sampler
	acks     acks
	seed     maphash.Seed // of span ids, so that two receivers have others
	store    attribute.KeyValue
	exporter *exporter
	provider *sdk.TracerProvider
	tracer   otel.Tracer
	close    sync.Once
}

// New makes a Tracer. It does not try the collector, which may be away. The SDK has
// one logger a process: it is set to tell what is wrong with the variables, without
// their values.
func New(cfg Config, logger *slog.Logger) (*Tracer, error) {
	quieten(logger)
	sampler, err := newSampler(cfg.Ratio)
	if err != nil {
		return nil, err
	}
	endpoint, err := tracesURL(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceName("spillway"), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the receiver in traces: %w", err)
	}
	collector, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("set up traces: %w", err)
	}
	t := &Tracer{
		sampler:  sampler,
		seed:     maphash.MakeSeed(),
		store:    semconv.DBSystemNameKey.String(cfg.Store),
		exporter: newExporter(collector, logger),
	}
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(t.exporter), sdk.WithSampler(sampler),
		sdk.WithIDGenerator(given{}), sdk.WithResource(about))
	t.tracer = t.provider.Tracer("spillway/dispatch/trace")
	return t, nil
}

func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("set up traces: endpoint is not a URL such as http://127.0.0.1:4318")
	}
	const path = "/v1/traces"
	if base := u.Path; len(base) < len(path) || base[len(base)-len(path):] != path {
		u = u.JoinPath(path)
	}
	return u.String(), nil
}

// Close sends what waits, for as long as flushTimeout, and ends. What is told
// afterwards is dropped.
func (t *Tracer) Close() {
	t.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		defer context.AfterFunc(ctx, t.exporter.abort)()
		_ = t.provider.Shutdown(ctx) // what is not sent was logged
		<-t.exporter.closed
	})
}

// span is one to be made.
type span struct {
	name       string
	kind       otel.SpanKind
	trace      otel.TraceID
	id, parent otel.SpanID // without a parent it is a root
	start, end time.Time
	failed     bool
	attributes []attribute.KeyValue
}

func (t *Tracer) emit(s span) {
	ctx := context.WithValue(context.Background(), given{}, &s)
	if s.parent.IsValid() {
		ctx = otel.ContextWithSpanContext(ctx, otel.NewSpanContext(otel.SpanContextConfig{
			TraceID: s.trace, SpanID: s.parent, TraceFlags: otel.FlagsSampled, TraceState: t.sampler.state,
		}))
	}
	_, made := t.tracer.Start(ctx, s.name, otel.WithTimestamp(s.start), otel.WithSpanKind(s.kind), otel.WithAttributes(s.attributes...))
	if s.failed {
		made.SetStatus(codes.Error, "")
	}
	made.End(otel.WithTimestamp(s.end))
}

// given gives a span the ids that it was made with, and is their key in a context.
type given struct{}

func (given) NewIDs(ctx context.Context) (otel.TraceID, otel.SpanID) {
	s := ctx.Value(given{}).(*span)
	return s.trace, s.id
}

func (given) NewSpanID(ctx context.Context, _ otel.TraceID) otel.SpanID {
	return ctx.Value(given{}).(*span).id
}
