// Package broadcaster is a server that one builds on the centrifuge library to do
// what Spillway's stream does: every event to every WebSocket.
//
//	POST ──▶ net/http ──▶ meta.Decode ──▶ node.Publish ──memory broker──▶ WebSockets
//
// It does the fan-out alone: it checks no signature, keeps nothing on disk, and
// neither deduplicates nor orders. Its events are the bytes that Spillway sends.
package broadcaster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spillway/bench/ack"
	"spillway/dispatch/event"
	"spillway/dispatch/meta"
)

// Config is what users of the library choose.
type Config struct {
	// Recovery has each channel keep a history, and each socket its position in it,
	// so that a reader that comes back misses nothing.
	Recovery bool
	// WriteDelay is how long events are gathered for a socket before they are
	// written to it; 0 writes at once.
	WriteDelay time.Duration
	// Gathered is how many go out in one message at most; 0 for the library's default.
	Gathered int
}

const (
	// Path is that of its WebSockets. Pings are WebSocket's own, as Spillway's are.
	Path = "/connection/websocket?cf_ws_frame_ping_pong=true"
	// Connect is what a client says first.
	Connect = `{"id":1,"connect":{}}`

	channel = "events"
	// history is as much as Spillway's stream keeps by default.
	history    = 1_000_000
	historyTTL = 24 * time.Hour
	// queueBytes bounds what waits for a socket: the default of 1 MB closes readers
	// that Spillway's queue would still wait for.
	queueBytes = 8 << 20
	// writeTimeout is Spillway's; with the default of 1 s readers are closed at the edge.
	writeTimeout = 30 * time.Second
	// waiting is how many events wait to be published; then posts wait as well.
	waiting    = 1024
	maxBody    = 4 << 20
	endTimeout = 5 * time.Second
)

// Run serves on free loopback ports until ctx ends.
func Run(ctx context.Context, cfg Config, listening func(ack.Addresses)) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	node, err := newNode(cfg, registry)
	if err != nil {
		return err
	}
	public, publicErr := net.Listen("tcp", "127.0.0.1:0")
	admin, adminErr := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(publicErr, adminErr); err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), node.Shutdown(ctx))
	}
	front, back := http.Server{Handler: handler(node, cfg)}, http.Server{Handler: adminHandler(registry)}
	served := make(chan error, 2)
	go func() { served <- ignoreClosed(front.Serve(public)) }()
	go func() { served <- ignoreClosed(back.Serve(admin)) }()
	listening(ack.Addresses{Public: public.Addr().String(), Admin: admin.Addr().String()})
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return errors.Join(front.Shutdown(ending), back.Close(), <-served, <-served, node.Shutdown(ending))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// newNode makes a node that subscribes every client to the one channel.
func newNode(cfg Config, registry *prometheus.Registry) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{
		ClientQueueMaxSize: queueBytes,
		Metrics:            centrifuge.MetricsConfig{RegistererGatherer: registry},
	})
	if err != nil {
		return nil, fmt.Errorf("make node: %w", err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:        &centrifuge.Credentials{},
			Subscriptions:      map[string]centrifuge.SubscribeOptions{channel: {EnableRecovery: cfg.Recovery}},
			WriteDelay:         cfg.WriteDelay,
			WriteWithTimer:     cfg.WriteDelay > 0,
			MaxMessagesInFrame: cfg.Gathered,
		}, nil
	})
	if err := node.Run(); err != nil {
		return nil, fmt.Errorf("run node: %w", err)
	}
	return node, nil
}

func handler(node *centrifuge.Node, cfg Config) http.Handler {
	publisher := &publisher{node: node}
	if cfg.Recovery {
		publisher.options = append(publisher.options, centrifuge.WithHistory(history, historyTTL))
	}
	mux := http.NewServeMux()
	mux.Handle("POST /api/webhook", publisher)
	mux.Handle("GET /connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool:         true,
		WriteTimeout:               writeTimeout,
		ProcessCommandsOffReadLoop: true,
	}))
	return mux
}

func adminHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return mux
}

// publisher answers 200 once the events of a webhook are published, each request in
// its goroutine. With one goroutine for all, and 10,000 sockets, events go out singly
// where they would go out several in a message, and fewer come through.
type publisher struct {
	node    *centrifuge.Node
	options []centrifuge.PublishOption
	serial  atomic.Uint64
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	events, dead := meta.Decode(time.Now(), body)
	if len(events) == 0 || len(dead) > 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for i := range events {
		if _, err := p.node.Publish(channel, message(p.serial.Add(1), &events[i]), p.options...); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
	}
}

// message is an event as Spillway's stream has it.
func message(serial uint64, e *event.Event) []byte {
	if e.Customer != nil {
		e.SetContact(e.Customer.Candidate())
	}
	b := append(make([]byte, 0, 128+len(e.Payload)), `{"id":"`...)
	b = strconv.AppendUint(b, serial, 10)
	b = append(b, `","uid":"`...)
	b = event.AppendUUID(b, e.UID)
	b = append(b, `","type":"`...)
	b = append(b, e.Type...)
	b = append(b, `","payload":`...)
	b = append(b, e.Payload...)
	return append(b, '}')
}

// Connected is whether a message tells that a socket gets all from now on.
func Connected(message []byte) bool { return bytes.HasPrefix(message, []byte(`{"id":1,"connect":`)) }
