// Package stream sends events to whoever listens, over WebSockets.
//
//	store.Feed ──Follow──▶ hub ──one frame an event──▶ tape of each filter ──▶ writer of each socket ──▶ its peer
//	     └──Read, for a socket that comes back with since───────────────────────▶┘
//
// Every event a reader may see reaches it, in the order of its partition, and
// what it has had of all partitions is told by the one id it saw last: a reader
// that comes back with it misses nothing, and what comes twice has the same uid.
//
// Nobody waits for a reader. A live socket has a bounded queue: what is on its
// tape behind the place it has come to. Where that runs over, the socket reads from
// the store like one that comes back, and is closed with 4008 if it is not level
// again soon. Where the store no longer holds what a reader needs the socket is
// closed with 4009: a gap is always told.
//
// The feed is followed only while there are sockets. Where the store comes back
// without the end of a stream, as a replica that lagged does, all sockets read that
// partition again from where all partitions were known to be complete.
//
// The first message of a socket that is level is a stream:position, so that it
// can come back even if it never saw an event.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"spillway/dispatch/store"
)

// Feed is where the events come from.
type Feed = store.Feed

// Server serves /ws.
type Server struct {
	cfg      Config
	feed     Feed
	logger   *slog.Logger
	metrics  *metrics
	hub      *hub
	crew     *crew
	turns    *turns
	shares   *shares
	stalls   stalls
	verifier atomic.Pointer[verifier]

	// ctx ends when closing begins.
	ctx    context.Context
	cancel context.CancelFunc

	mu sync.Mutex
	// sockets are those whose connection is not closed; running counts them and the
	// goroutines of Start. Nothing is added once closing is true.
	sockets map[*socket]struct{}
	running sync.WaitGroup
	started bool
	closing bool
}

// New makes a server. It serves once Start was called.
func New(cfg Config, feed Feed, logger *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure stream: %w", err)
	}
	if n := feed.Partitions(); n < 1 || n > maxPartition+1 {
		return nil, fmt.Errorf("configure stream: feed has %d partitions, must have 1 to %d", n, maxPartition+1)
	}
	m, err := newMetrics(reg, cfg.Sockets)
	if err != nil {
		return nil, err
	}
	crew := newCrew(cfg.Queue, cfg.QueueBytes)
	s := &Server{
		cfg: cfg, feed: feed, logger: logger, metrics: m,
		hub:     newHub(feed.Partitions(), cfg.Queue, m.overruns, crew),
		crew:    crew,
		turns:   newTurns(cfg.CatchUps),
		shares:  newShares(cfg.SocketsPerToken),
		stalls:  stalls{most: int64(cfg.CatchUps) * int64(cfg.CatchUpBytes)},
		sockets: make(map[*socket]struct{}),
	}
	s.hub.tracer = cfg.Tracer
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.Reload(cfg.Secret, cfg.PublicKey); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload changes the key that tokens are verified with from now on. Open sockets
// stay until their tokens expire.
func (s *Server) Reload(secret, publicKey string) error {
	v, err := newVerifier(secret, publicKey)
	if err != nil {
		return fmt.Errorf("load token key: %w", err)
	}
	s.verifier.Store(v)
	return nil
}

// Handler answers /ws: it upgrades, or says what is wrong. A bad token does not
// keep it from upgrading, for a browser could not read the answer. The HTTP server
// must have KeepHijackedConns set: a socket outlives the handler, and closes its
// connection itself.
func (s *Server) Handler(ctx *fasthttp.RequestCtx) {
	if !ctx.IsGet() {
		ctx.Error("only GET opens a WebSocket\n", fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set(fasthttp.HeaderAllow, fasthttp.MethodGet)
		return
	}
	if problem := handshakeProblem(ctx); problem != "" {
		ctx.Error(problem, fasthttp.StatusUpgradeRequired)
		ctx.Response.Header.Set(fasthttp.HeaderUpgrade, "websocket")
		ctx.Response.Header.Set(fasthttp.HeaderSecWebSocketVersion, protocolVersion)
		return
	}
	if hasBody(ctx) {
		ctx.Error("a request for a WebSocket has no body\n", fasthttp.StatusBadRequest)
		ctx.SetConnectionClose()
		return
	}
	if !s.hasRoom() {
		s.metrics.refused.Inc()
		ctx.Error("too many sockets are open, try again\n", fasthttp.StatusServiceUnavailable)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		return
	}
	s.upgrade(ctx)
}

const protocolVersion = "13"

// handshakeProblem says why a request cannot be upgraded as it is; empty where it
// can. What else is wrong with one the upgrader answers.
func handshakeProblem(ctx *fasthttp.RequestCtx) string {
	switch {
	case !ctx.Request.Header.IsHTTP11():
		return "a WebSocket needs HTTP/1.1\n"
	case !websocket.FastHTTPIsWebSocketUpgrade(ctx):
		return "this is a WebSocket: connect with ws:// or wss://\n"
	case string(ctx.Request.Header.Peek(fasthttp.HeaderSecWebSocketVersion)) != protocolVersion:
		return "only version " + protocolVersion + " of the protocol is spoken\n"
	}
	return ""
}

// hasBody tells that bytes follow the header that are no frames.
func hasBody(ctx *fasthttp.RequestCtx) bool {
	const chunked = -1
	length := ctx.Request.Header.ContentLength()
	return length > 0 || length == chunked
}

// upgrade hands the connection over. The upgrader makes the answer alone: its own
// connection would answer what breaks the protocol by itself, beside the writer.
func (s *Server) upgrade(ctx *fasthttp.RequestCtx) {
	req := copyRequest(ctx)
	upgrader := websocket.FastHTTPUpgrader{CheckOrigin: s.allowsOrigin, EnableCompression: req.deflate}
	if err := upgrader.Upgrade(ctx, func(*websocket.Conn) {}); err != nil {
		return // and answered
	}
	ctx.Hijack(func(conn net.Conn) { s.serve(conn, req) })
}

// copyRequest takes what is needed of a request that is gone once it is upgraded.
func copyRequest(ctx *fasthttp.RequestCtx) request {
	query := ctx.QueryArgs()
	req := request{
		token:  string(query.Peek("token")),
		since:  string(query.Peek("since")),
		events: string(query.Peek("events")),
		phones: string(query.Peek("phone_number_id")),

		deflate: deflateOffered(string(ctx.Request.Header.Peek("Sec-WebSocket-Extensions"))),
	}
	const scheme = "bearer "
	header := string(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization))
	if len(header) > len(scheme) && strings.EqualFold(header[:len(scheme)], scheme) {
		req.token = strings.TrimSpace(header[len(scheme):])
	}
	return req
}

// allowsOrigin judges the page that a browser says it connects for; a program that
// says none may connect. "null", the origin of sandboxed pages and files, is one
// that no list names.
func (s *Server) allowsOrigin(ctx *fasthttp.RequestCtx) bool {
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if origin == "" || len(s.cfg.AllowedOrigins) == 0 {
		return true
	}
	return slices.ContainsFunc(s.cfg.AllowedOrigins, func(allowed string) bool {
		return allowed == "*" || normalOrigin(allowed) == normalOrigin(origin)
	})
}

// normalOrigin is an origin as browsers write it: in lower case, and without the
// port that goes with the scheme.
func normalOrigin(origin string) string {
	origin = strings.ToLower(origin)
	switch {
	case strings.HasPrefix(origin, "http://"):
		return strings.TrimSuffix(origin, ":80")
	case strings.HasPrefix(origin, "https://"):
		return strings.TrimSuffix(origin, ":443")
	}
	return origin
}

func (s *Server) hasRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closing && len(s.sockets) < s.cfg.Sockets
}

// serve takes over an upgraded connection. It returns at once, and with it the
// buffers of the HTTP server are free.
func (s *Server) serve(hijacked net.Conn, req request) {
	early := buffered(hijacked)
	conn := hijacked
	if below, ok := hijacked.(interface{ UnsafeConn() net.Conn }); ok {
		conn = below.UnsafeConn()
	}
	k := newSocket(s, conn, early, req)
	if end := s.enter(k); end != nil {
		k.refuse(end)
		return
	}
	k.start()
}

// buffered takes what the HTTP server has read beyond the request.
func buffered(hijacked net.Conn) []byte {
	// No deadline stops what is in memory already.
	_ = hijacked.SetReadDeadline(time.Unix(1, 0))
	defer func() { _ = hijacked.SetReadDeadline(time.Time{}) }()
	var early []byte
	for piece := make([]byte, 512); ; {
		n, err := hijacked.Read(piece)
		early = append(early, piece[:n]...)
		if err != nil {
			return early
		}
	}
}

// enter counts the socket in, unless there is no more room since Handler looked.
func (s *Server) enter(k *socket) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return shutdown()
	}
	if len(s.sockets) >= s.cfg.Sockets {
		return &ending{code: tryLater, reason: "too many sockets are open"}
	}
	s.sockets[k] = struct{}{}
	s.running.Add(1)
	s.metrics.sockets.Inc()
	return nil
}

func (s *Server) leave(k *socket) {
	if k.shares {
		s.shares.give(k.share)
	}
	s.mu.Lock()
	delete(s.sockets, k)
	s.mu.Unlock()
	s.metrics.sockets.Dec()
	s.running.Done()
}

// Start lets the feed be followed as soon as a socket needs it. It is to be called
// once, before Close.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closing {
		return
	}
	s.started = true
	s.running.Go(s.follow)
}

// each calls f with every socket.
func (s *Server) each(f func(*socket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.sockets {
		f(k)
	}
}

// Close ends all sockets with 1012 and waits until they and the server's own
// goroutines are gone; one whose reader stands still is cut after CloseTimeout.
// When ctx ends first it cuts the connections, waits for the rest, and returns the
// error of ctx. It may be called twice.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	s.each((*socket).hurry)
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.each((*socket).cut)
	<-done
	return fmt.Errorf("close stream: %w", ctx.Err())
}
