package main

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"spillway/dispatch/trace"
)

// collector takes traces as an OpenTelemetry collector does.
type collector struct {
	server *httptest.Server

	mu    sync.Mutex
	spans []tracedSpan
}

// tracedSpan is a span as a collector sees it.
type tracedSpan struct {
	name, trace, id, parent string
	start, end              time.Time
	failed                  bool
	attributes              map[string]string
	// receiver is the service.instance.id.
	receiver string
	// texts are all that a reader of it could read.
	texts []string
}

func startCollector(t testing.TB) *collector {
	t.Helper()
	c := &collector{}
	c.server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.server.Close)
	return c
}

// env has a receiver send what it samples, soon.
func (c *collector) env(ratio float64) []string { return tracingEnv(c.server.URL, ratio) }

func tracingEnv(endpoint string, ratio float64) []string {
	return []string{
		"SPILLWAY_TRACING_ENDPOINT=" + endpoint, "SPILLWAY_TRACING_RATIO=" + strconv.FormatFloat(ratio, 'g', -1, 64),
		"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=" + collectorSecret,
	}
}

const collectorSecret = "a-secret-of-the-collector"

func (c *collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := gzip.NewReader(r.Body)
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != collectorSecret {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	raw, _ := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &request); err != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		about, texts := attributesOf(resource.Resource.Attributes)
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, spanOf(s, about["service.instance.id"], texts))
			}
		}
	}
}

func spanOf(s *tracepb.Span, receiver string, texts []string) tracedSpan {
	attributes, more := attributesOf(s.Attributes)
	texts = append(more, texts...)
	texts = append(texts, s.Name, s.TraceState, s.Status.GetMessage())
	for _, e := range s.Events {
		_, more := attributesOf(e.Attributes)
		texts = append(append(texts, e.Name), more...)
	}
	return tracedSpan{
		name: s.Name, trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId),
		start: time.Unix(0, int64(s.StartTimeUnixNano)), end: time.Unix(0, int64(s.EndTimeUnixNano)),
		failed:     s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		attributes: attributes, receiver: receiver, texts: texts,
	}
}

func attributesOf(list []*commonpb.KeyValue) (attributes map[string]string, texts []string) {
	attributes = make(map[string]string)
	for _, a := range list {
		text := a.Value.String()
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			text = v.StringValue
		case *commonpb.AnyValue_IntValue:
			text = strconv.FormatInt(v.IntValue, 10)
		}
		attributes[a.Key] = text
		texts = append(texts, a.Key, text)
	}
	return attributes, texts
}

// all gives what has come so far.
func (c *collector) all() []tracedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]tracedSpan(nil), c.spans...)
}

// of gives the spans of a trace by name.
func (c *collector) of(trace string) map[string][]tracedSpan {
	byName := make(map[string][]tracedSpan)
	for _, s := range c.all() {
		if s.trace == trace {
			byName[s.name] = append(byName[s.name], s)
		}
	}
	return byName
}

// newTracer is one whose collector is away.
func newTracer(t testing.TB, ratio float64) *trace.Tracer {
	t.Helper()
	tracer, err := trace.New(trace.Config{Endpoint: "http://127.0.0.1:1", Ratio: ratio}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracer.Close)
	return tracer
}
