package stream

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"spillway/dispatch/store"
)

// frontTimeout is how long the server in front waits for a request.
const frontTimeout = time.Second

const secret = "a secret of the tests, 32 bytes or more"

// rig is a server over real TCP, with a feed in memory behind it.
type rig struct {
	t      *testing.T
	feed   *memoryFeed
	server *Server
	host   string
	stop   func()
}

func newRig(t *testing.T, feed *memoryFeed, change func(*Config)) *rig {
	t.Helper()
	r := newStillRig(t, feed, change)
	r.server.Start()
	return r
}

// newStillRig is a rig whose server does not follow the feed by itself.
func newStillRig(t *testing.T, feed *memoryFeed, change func(*Config)) *rig {
	t.Helper()
	r := newFeedRig(t, feed, change)
	r.feed = feed
	return r
}

// newFeedRig is one with a feed of any kind.
func newFeedRig(t *testing.T, feed Feed, change func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Secret = secret
	if change != nil {
		change(&cfg)
	}
	server, err := New(cfg, feed, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, server: server, host: listener.Addr().String()}
	front := &fasthttp.Server{
		Handler: server.Handler, Logger: discard{}, KeepHijackedConns: true, MaxIdleWorkerDuration: 20 * time.Millisecond,
		ReadTimeout: frontTimeout, ReadBufferSize: 8 << 10,
		StreamRequestBody: true, MaxRequestBodySize: 1, // as package ingest has it
	}
	served := make(chan error, 1)
	go func() { served <- front.Serve(listener) }()
	r.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := front.Shutdown(); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		<-served
	}
	t.Cleanup(func() { r.stop() })
	return r
}

type discard struct{}

func (discard) Printf(string, ...any) {}

func claims(change func(*Claims)) Claims {
	c := Claims{RegisteredClaims: jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}}
	if change != nil {
		change(&c)
	}
	return c
}

func (r *rig) token(change func(*Claims)) string {
	r.t.Helper()
	token, err := Mint(secret, claims(change))
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// peer is the other end of a socket.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	// last is the last id that came.
	last string
}

// message is what a server sends.
type message struct {
	ID      string          `json:"id"`
	UID     uuid.UUID       `json:"uid"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload"`
}

// open dials with a token in the header, and the query as it is.
func (r *rig) open(query string) *peer {
	r.t.Helper()
	return r.dial(query, http.Header{"Authorization": {"Bearer " + r.token(nil)}})
}

func (r *rig) dial(query string, header http.Header) *peer {
	r.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+r.host+"/ws?"+query, header)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	return &peer{t: r.t, conn: conn}
}

// next gives the next message of any type.
func (p *peer) next() message {
	p.t.Helper()
	_, data, err := p.conn.ReadMessage()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		p.t.Fatalf("message %q: %v", data, err)
	}
	if m.ID != "" {
		p.last = m.ID
	}
	return m
}

// live reads the position that says that the socket is level.
func (p *peer) live() message {
	p.t.Helper()
	m := p.next()
	if m.Type != "stream:position" || m.ID == "" {
		p.t.Fatalf("got %+v, want a position", m)
	}
	return m
}

// event gives the next event.
func (p *peer) event() message {
	p.t.Helper()
	for {
		if m := p.next(); m.Type != "stream:position" {
			return m
		}
	}
}

// events reads until it has all wanted, in any order, and fails for a repeat or a
// stranger.
func (p *peer) events(want []store.Entry) []message {
	p.t.Helper()
	missing := make(map[uuid.UUID]bool, len(want))
	for i := range want {
		missing[want[i].UID] = true
	}
	var got []message
	for len(got) < len(want) {
		m := p.event()
		if !missing[m.UID] {
			p.t.Fatalf("event %d is a repeat or not wanted: %+v", len(got), m)
		}
		delete(missing, m.UID)
		got = append(got, m)
	}
	return got
}

// closed reads on until the close frame.
func (p *peer) closed() *websocket.CloseError {
	p.t.Helper()
	for {
		_, _, err := p.conn.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed
		}
		if err != nil {
			p.t.Fatalf("want a close frame, got %v", err)
		}
	}
}

func (p *peer) wantClose(code int) string {
	p.t.Helper()
	closed := p.closed()
	if closed.Code != code {
		p.t.Fatalf("closed with %d %q, want %d", closed.Code, closed.Text, code)
	}
	return closed.Text
}

func (r *rig) wantMetric(what string, c prometheus.Collector, want float64) {
	r.t.Helper()
	eventually(r.t, what, func() bool { return testutil.ToFloat64(c) == want })
}

// sampled is how often a histogram was observed, and the sum of that.
func sampled(t *testing.T, h prometheus.Histogram) (count uint64, sum float64) {
	t.Helper()
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

func closeOf(t *testing.T, err error) *websocket.CloseError {
	t.Helper()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		t.Fatalf("want a close frame, got %v", err)
	}
	return closed
}

func decode(t *testing.T, data []byte) message {
	t.Helper()
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatalf("message %q: %v", data, err)
	}
	return m
}

func (m *metrics) overrunsValue() float64 { return testutil.ToFloat64(m.overruns) }
