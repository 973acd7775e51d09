package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

// The close codes of the stream beside those of RFC 6455.
const (
	// CodeToken: the token is bad, or expired.
	CodeToken = 4001
	// CodeSlow: the reader was too slow for its queue; the reason is the last id
	// it was sent, to resume from.
	CodeSlow = 4008
	// CodeSince: since is no id of this stream, or older than what is kept; the
	// reason is an id to resume from the oldest kept.
	CodeSince = 4009
)

// request is what the upgrade request said, copied out of it.
type request struct {
	token, since, events, phones string
}

// socket is one connection. Two goroutines: the reader, which is the one that
// hijacked it, and the writer, which alone writes and decides how it ends. The
// connection is the writer's until the writer has returned.
type socket struct {
	server  *Server
	ws      *websocket.Conn
	conn    net.Conn
	request request
	queue   *queue

	// auth brings the writer the verdict on the token; done is closed when the
	// reader has ended, with the peer's code in peer.
	auth chan verdict
	done chan struct{}
	peer int
	// quit is how the reader asks for an ending and goes on reading.
	quit chan *ending

	mu sync.Mutex
	// replies are whole frames the reader wants written, at most maxReplies.
	replies [][]byte
	// ending is true once the closing handshake has begun: the read deadline is
	// the writer's from then on.
	ending bool

	// From here on the fields are the writer's.
	filter *filter
	cursor *cursor
	// sent is the last id that was written, unwritten how many events are in a
	// buffer and not yet written.
	sent      mark
	unwritten int
	expires   time.Time
	pingAt    time.Time
	// positionAt is when a socket that catches up sends its next position.
	positionAt time.Time
	// levelBy is when a socket that was overrun must be level again; else zero.
	levelBy time.Time
	timer   *time.Timer
}

// verdict is what became of a token.
type verdict struct {
	claims *Claims
	reason string
}

// ending is why a socket ends. A silent one writes no close frame.
type ending struct {
	code   int
	reason string
	silent bool
	slow   bool
}

const (
	readBuffer  = 512
	readLimit   = 8 << 10
	maxReplies  = 8
	batchBytes  = 32 << 10
	bigFrame    = batchBytes / 2
	abnormal    = websocket.CloseAbnormalClosure
	noStatus    = websocket.CloseNoStatusReceived
	tryLater    = websocket.CloseTryAgainLater
	restarting  = websocket.CloseServiceRestart
	pingOpcode  = websocket.PingMessage
	pongOpcode  = websocket.PongMessage
	closeOpcode = websocket.CloseMessage
)

func newSocket(s *Server, ws *websocket.Conn, req request) *socket {
	k := &socket{
		server: s, ws: ws, conn: ws.NetConn(), request: req,
		queue: newQueue(s.cfg.Queue, s.cfg.QueueBytes),
		auth:  make(chan verdict, 1),
		done:  make(chan struct{}),
		quit:  make(chan *ending, 1),
		timer: time.NewTimer(time.Hour),
	}
	k.sent = mark{oldest: true}
	shrinkSendBuffer(k.conn, s.cfg.SendBuffer)
	return k
}

// shrinkSendBuffer bounds what the kernel holds for a reader that stands still.
func shrinkSendBuffer(conn net.Conn, bytes int) {
	for conn != nil {
		switch c := conn.(type) {
		case *net.TCPConn:
			_ = c.SetWriteBuffer(bytes)
			return
		case interface{ UnsafeConn() net.Conn }:
			conn = c.UnsafeConn()
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}

// run serves the connection until it ends; both goroutines are gone then.
func (k *socket) run() {
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		k.write()
	}()
	k.read()
	<-finished
}

// write is the writer: it serves the socket, and then closes it.
func (k *socket) write() {
	end := k.serve()
	k.server.hub.leave(k)
	k.timer.Stop()
	k.server.metrics.closed(end)
	k.mu.Lock()
	k.ending = true
	k.mu.Unlock()
	if !end.silent {
		_ = k.conn.SetWriteDeadline(time.Now().Add(k.server.cfg.CloseTimeout))
		_, err := k.conn.Write(appendControl(nil, closeOpcode, closePayload(end)))
		end.silent = err != nil
	}
	wait := k.server.cfg.CloseTimeout
	if end.silent {
		wait = 0
	}
	_ = k.conn.SetReadDeadline(time.Now().Add(wait))
}

func closePayload(end *ending) []byte {
	return websocket.FormatCloseMessage(end.code, end.reason)
}

// serve takes the socket through its life: token, place to start, catching up,
// live.
func (k *socket) serve() *ending {
	k.pingAt = time.Now().Add(k.server.cfg.PingInterval)
	k.positionAt = time.Now().Add(k.server.cfg.PositionInterval)
	claims, end := k.authenticate()
	if end != nil {
		return end
	}
	k.expires = claims.ExpiresAt.Time
	k.filter = newFilter(claims, k.request.events, k.request.phones)
	if end := k.begin(); end != nil {
		return end
	}
	for {
		if end := k.live(); end != nil {
			return end
		}
		if end := k.catchUp(); end != nil {
			return end
		}
	}
}

// authenticate waits for the verdict on the token.
func (k *socket) authenticate() (*Claims, *ending) {
	timeout := time.NewTimer(k.server.cfg.AuthTimeout)
	defer timeout.Stop()
	select {
	case v := <-k.auth:
		if v.claims == nil {
			return nil, &ending{code: CodeToken, reason: v.reason}
		}
		return v.claims, nil
	case <-timeout.C:
		return nil, &ending{code: CodeToken, reason: "no token came in time"}
	case <-k.done:
		return nil, k.left()
	case end := <-k.quit:
		return nil, end
	case <-k.server.ctx.Done():
		return nil, shutdown()
	}
}

func shutdown() *ending { return &ending{code: restarting, reason: "shutting down"} }

// left is the ending of a socket whose peer went: its code is sent back.
func (k *socket) left() *ending {
	return &ending{code: k.peer, silent: k.peer == abnormal}
}

// check finds out whether the socket is to end now.
func (k *socket) check() *ending {
	select {
	case <-k.done:
		return k.left()
	case end := <-k.quit:
		return end
	case <-k.server.ctx.Done():
		return shutdown()
	default:
	}
	now := time.Now()
	if !now.Before(k.expires) {
		return &ending{code: CodeToken, reason: "token expired"}
	}
	if !k.levelBy.IsZero() && now.After(k.levelBy) {
		return k.tooSlow()
	}
	return nil
}

func (k *socket) tooSlow() *ending {
	return &ending{code: CodeSlow, reason: k.sent.String(), slow: true}
}

// idle waits until there may be something to do.
func (k *socket) idle() { k.await(nil) }

// await waits until there may be something to do; true where it got something
// from c, or c is closed.
func (k *socket) await(c <-chan struct{}) bool {
	next := k.pingAt
	for _, at := range []time.Time{k.expires, k.levelBy} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	k.timer.Reset(time.Until(next))
	select {
	case <-c:
		return true
	case <-k.queue.wake:
	case <-k.timer.C:
	case <-k.done:
	case <-k.server.ctx.Done():
	}
	return false
}

// control adds what is due beside events: replies and the ping.
func (k *socket) control(b []byte) []byte {
	k.mu.Lock()
	replies := k.replies
	k.replies = nil
	k.mu.Unlock()
	for _, reply := range replies {
		b = append(b, reply...)
	}
	if now := time.Now(); !now.Before(k.pingAt) {
		k.pingAt = now.Add(k.server.cfg.PingInterval)
		b = appendControl(b, pingOpcode, nil)
	}
	return b
}

// flush writes whole frames, and keeps the last mark in them as sent.
func (k *socket) flush(b []byte, last mark) *ending {
	if len(b) == 0 {
		return nil
	}
	_ = k.conn.SetWriteDeadline(time.Now().Add(k.server.cfg.WriteTimeout))
	if _, err := k.conn.Write(b); err != nil {
		// Half a frame may be out: there is no way to say goodbye.
		return &ending{code: abnormal, silent: true, slow: errors.Is(err, os.ErrDeadlineExceeded)}
	}
	k.sent = last
	k.server.metrics.frames.Add(float64(k.unwritten))
	k.server.metrics.bytes.Add(float64(len(b)))
	k.unwritten = 0
	return nil
}

// refuse closes a connection that was upgraded in vain.
func (k *socket) refuse(end *ending) {
	k.timer.Stop()
	k.server.metrics.closed(end)
	_ = k.conn.SetDeadline(time.Now().Add(k.server.cfg.CloseTimeout))
	if _, err := k.conn.Write(appendControl(nil, closeOpcode, closePayload(end))); err != nil {
		return
	}
	for {
		if _, _, err := k.ws.NextReader(); err != nil {
			return
		}
	}
}

// cut ends the connection at once. The reader must not have returned.
func (k *socket) cut() {
	if conn, ok := k.conn.(interface{ UnsafeConn() net.Conn }); ok {
		_ = conn.UnsafeConn().Close()
		return
	}
	_ = k.conn.Close()
}
