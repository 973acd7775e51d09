// Package ingest is the listener that Meta calls.
//
//	connection ─▶ header ─▶ body ─▶ signature ─▶ lane ─▶ Log.Append ─▶ 200
//	 503 too many  401 413   400 408   403                  503 refused
//	               503 wait  413 503
//
// It promises that 200 is answered only after Append returned nil, that a signed
// body is appended whatever it holds, byte by byte as it came, and that what a
// sender costs is bounded: connections, time, and memory that grows with the
// bytes received and not with those announced. Where more comes than the log
// takes, it refuses early what would wait too long.
//
// GET /api/webhook is Meta's verification, GET /ws is handed on.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

const (
	// headerBytes bounds a request's header; a subscriber's token is part of it.
	headerBytes = 8 << 10
	// answerBytes is the buffer of an answer, which is small.
	answerBytes = 1 << 10
	// spareFiles are the descriptors that the listener, the log and the store
	// need besides connections.
	spareFiles = 512
)

// Webhook is one signed body on its way into the log.
type Webhook struct {
	// Received is when its header had come.
	Received time.Time
	// App is the name of the app whose secret signed it.
	App string
	// Signature is the HMAC-SHA256 that came with it, 32 bytes.
	Signature []byte
	// Body is what was signed, at least one byte.
	Body []byte
	// Bulk is true where it holds only statuses, history or smb_app_state_sync.
	Bulk bool
}

// Log keeps webhooks.
type Log interface {
	// Append returns nil once the webhook survives a loss of power. It retains
	// nothing of the webhook after it returned.
	Append(*Webhook) error
	// Ready returns an error where Append would now refuse. It is asked before a
	// body is read.
	Ready() error
	// CommitTime is how long it takes at present to keep webhooks, from when they
	// are taken to hand, with no wait before that; 0 where that is not known.
	CommitTime() time.Duration
}

// Server listens for webhooks until it is shut down.
type Server struct {
	cfg     Config
	log     Log
	stream  fasthttp.RequestHandler
	logger  *slog.Logger
	metrics *metrics

	connections *connections
	listener    *listener
	http        *fasthttp.Server
	buffers     *buffers
	receipts    sync.Pool
	admission   *admission
	trust       atomic.Pointer[trust]
	// stopping is set before connections are closed: a request that is handled
	// later is refused.
	stopping atomic.Bool
	// refused is when a webhook was last refused for now, in Unix seconds; 0 once
	// they are taken again.
	refused atomic.Int64
}

// New binds the address of cfg, which is valid, and reads its certificates.
// stream serves GET /ws; it may be nil, and is not told of a shutdown: its
// RequestCtx is never done. Close or Shutdown frees what New took.
func New(cfg Config, log Log, stream fasthttp.RequestHandler, logger *slog.Logger,
	reg prometheus.Registerer) (*Server, error) {
	trust, err := loadTrust(cfg.Apps, cfg.TLS)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: log, stream: stream, logger: logger,
		connections: newConnections(cfg.MaxConnections),
		buffers:     newBuffers(cfg.MaxInFlight, cfg.MaxBody),
		receipts:    sync.Pool{New: func() any { return new(receipt) }},
		admission:   newAdmission(cfg.TargetWait, log.CommitTime),
	}
	s.trust.Store(trust)
	s.checkFiles()
	bound, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (listen): %w", cfg.Listen, err)
	}
	s.metrics, err = newMetrics(reg, s)
	if err != nil {
		_ = bound.Close()
		return nil, err
	}
	s.listener = newListener(bound, s.connections, s.metrics, logger)
	if cfg.TLS.Enabled() {
		s.listener.secure = s.handshake()
	}
	s.http = s.newHTTP()
	return s, nil
}

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:        s.handle,
		HeaderReceived: s.headerReceived,
		ExpectHandler:  s.expect,
		ErrorHandler:   s.fail,
		ConnState:      s.connections.changed,
		Logger:         quiet{},

		// The listener bounds connections; this only has to be no less.
		Concurrency:     s.cfg.MaxConnections,
		ReadTimeout:     s.cfg.ReadTimeout,
		IdleTimeout:     s.cfg.IdleTimeout,
		WriteTimeout:    s.cfg.WriteTimeout,
		ReadBufferSize:  headerBytes,
		WriteBufferSize: answerBytes,
		// Who takes a connection over closes it.
		KeepHijackedConns: true,

		// A body is awaited before the handler up to its limit or 8 KiB, whichever
		// is less, in a buffer of that size. One byte is the least that can be
		// asked for; what comes after it is read by the handler.
		StreamRequestBody:  true,
		MaxRequestBodySize: 1,

		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
	}
}

// quiet drops what fasthttp would log of a connection: it may quote a request.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// checkFiles warns where the process may not open as many files as connections
// are allowed.
func (s *Server) checkFiles() {
	need := uint64(s.cfg.MaxConnections + s.cfg.ExtraFiles + spareFiles)
	limit, err := fileLimit(need)
	if err != nil {
		s.logger.Warn("cannot tell how many files may be open", "error", err)
	} else if limit < need {
		s.logger.Warn("fewer files may be open than connections are allowed: raise the limit "+
			"(ulimit -n, LimitNOFILE) or lower limits.connections or stream.sockets",
			"limit", limit, "needed", need, "limits.connections", s.cfg.MaxConnections)
	}
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve accepts connections until Shutdown or Close, and then returns nil while
// requests may still be finished.
func (s *Server) Serve() error {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept connections: %w", err)
		}
		go s.serve(c)
	}
}

// serve answers the requests of one connection until it ends or is handed over
// as a WebSocket. What goes wrong on it is its sender's matter.
func (s *Server) serve(c net.Conn) {
	defer s.connections.remove(connOf(c))
	_ = s.http.ServeConn(c)
}

// Shutdown stops accepting, closes idle connections, and waits until every
// request that was taken is answered. A request that comes after it began gets
// 503. When ctx ends first, it closes what is left and returns the error of ctx:
// then an Append may still be running, whose answer nobody hears.
// WebSockets are not waited for: they are closed by whoever serves them.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.connections.close()
	select {
	case <-s.connections.empty:
	default:
		select {
		case <-s.connections.empty:
		case <-ctx.Done():
			s.connections.abort()
			return fmt.Errorf("wait for requests: %w", ctx.Err())
		}
	}
	if err != nil {
		return fmt.Errorf("close listener: %w", err)
	}
	return nil
}

// Close is Shutdown without any patience for senders: it closes all connections,
// and waits until nothing is appended any more.
func (s *Server) Close() error {
	s.stopping.Store(true)
	_ = s.listener.Close()
	s.connections.close()
	s.connections.abort()
	<-s.connections.empty
	return nil
}

// Reload swaps apps and certificates, all or nothing: after an error all is as
// it was. Built-in TLS cannot be turned on or off.
func (s *Server) Reload(apps []App, files TLS) error {
	if err := errors.Join(validateApps(apps), files.validate()); err != nil {
		return err
	}
	if files.Enabled() != (s.listener.secure != nil) {
		return errors.New("tls: turning it on or off needs a restart")
	}
	trust, err := loadTrust(apps, files)
	if err != nil {
		return err
	}
	s.trust.Store(trust)
	return nil
}
