package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
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
	// deflate is true where compressed frames were agreed on.
	deflate bool
}

// socket is one connection. Its reader is a goroutine that lasts as long as the
// connection. Its writer, which alone writes and decides how it ends, has one while
// it begins, catches up, or has to wait for its peer. At most times it is parked,
// and has none: a worker of the crew then writes what comes.
type socket struct {
	server *Server
	conn   net.Conn
	// tcp is what is beneath conn; nil for none.
	tcp *net.TCPConn
	// raw is conn where that can be written to without waiting; else nil.
	raw     syscall.RawConn
	request request
	frames  clientFrames
	queue   queue

	// activity is the state of the writer.
	activity atomic.Int32
	// signal has room for one: there may be something to do for a writer that waits.
	signal chan struct{}
	// parts counts the reader and the writer.
	parts atomic.Int32

	mu   sync.Mutex
	mail mail

	// From here on the fields are the writer's.
	begun bool
	// share is the token's, and shares true while it counts the socket.
	share  share
	shares bool
	filter *filter
	cursor *cursor
	// sent is the last id that was written, unwritten how many events are in a
	// buffer and not yet written.
	sent      mark
	unwritten int
	rest      rest
	expires   time.Time
	pingAt    time.Time
	// positionAt is when the next position is due.
	positionAt time.Time
	// levelBy is when a socket that was overrun must be level again; else zero.
	levelBy time.Time
	// cutOff is true where the peer was not told how it ends.
	cutOff bool
	// writeBy is the deadline that is set for writes; zero for none.
	writeBy time.Time
	// timer wakes the writer at timerAt.
	timer   *time.Timer
	timerAt time.Time
}

// mail is what the reader has for the writer.
type mail struct {
	// token is what the peer showed, once asked is true.
	token string
	asked bool
	// quit is the ending that the reader asks for: the peer has gone, or did what it
	// must not. Where the peer said goodbye its code is sent back.
	quit *ending
	// replies are whole frames the reader wants written, at most maxReplies.
	replies [][]byte
	// closing is true once the closing handshake has begun: the read deadline is
	// the writer's from then on.
	closing bool
}

// ending is why a socket ends. A silent one writes no close frame.
type ending struct {
	code   int
	reason string
	silent bool
	slow   bool
}

const (
	maxReplies  = 8
	abnormal    = websocket.CloseAbnormalClosure
	noStatus    = websocket.CloseNoStatusReceived
	tryLater    = websocket.CloseTryAgainLater
	restarting  = websocket.CloseServiceRestart
	pingOpcode  = websocket.PingMessage
	pongOpcode  = websocket.PongMessage
	closeOpcode = websocket.CloseMessage
)

func newSocket(s *Server, conn net.Conn, early []byte, req request) *socket {
	k := &socket{
		server: s, conn: conn, request: req,
		frames: clientFrames{from: conn, deflate: req.deflate},
		queue:  queue{maxFrames: int64(s.cfg.Queue), maxBytes: s.cfg.QueueBytes},
		signal: make(chan struct{}, 1),
		sent:   mark{form: oldestForm},
	}
	k.mail = mail{token: req.token, asked: req.token != ""}
	k.request.token = "" // it is not kept
	k.parts.Store(2)
	if len(early) > 0 {
		k.frames.from = io.MultiReader(bytes.NewReader(early), conn)
	}
	var plain bool
	k.tcp, plain = beneath(conn)
	if k.tcp != nil {
		// It bounds what the kernel holds for a reader that stands still.
		_ = k.tcp.SetWriteBuffer(s.cfg.SendBuffer)
	}
	if plain && canWriteNow {
		k.raw, _ = k.tcp.SyscallConn()
	}
	return k
}

// beneath finds the connection beneath its wrappers, nil where there is none; plain
// where what is written to it is what goes over the wire.
func beneath(conn net.Conn) (tcp *net.TCPConn, plain bool) {
	for plain = true; ; {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c, plain
		case *tls.Conn:
			conn, plain = c.NetConn(), false
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil, false
		}
	}
}

// start lets the connection be served; it closes it at the end.
func (k *socket) start() {
	now := time.Now()
	k.pingAt = now.Add(k.server.cfg.PingInterval)
	k.positionAt = now.Add(k.server.cfg.PositionInterval)
	go k.read(k.mail.asked)
	go k.write()
}

// finished is called by reader and writer as they end.
func (k *socket) finished() {
	if k.parts.Add(-1) == 0 {
		if k.cutOff {
			k.cut() // TLS would wait to say goodbye to a peer that does not read
		}
		_ = k.conn.Close()
		k.server.leave(k)
	}
}

// write is the writer's own goroutine: it serves the socket until that is idle, or
// ends.
func (k *socket) write() {
	end := k.serve()
	if end == nil {
		return
	}
	k.server.hub.leave(k)
	k.activity.Store(ended)
	if k.timer != nil {
		k.timer.Stop()
	}
	k.server.metrics.closed(end)
	k.mu.Lock()
	k.mail.closing = true
	k.mu.Unlock()
	k.sayGoodbye(end)
	k.finished()
}

// sayGoodbye writes the close frame, and bounds the wait for the peer's.
func (k *socket) sayGoodbye(end *ending) {
	wait := k.server.cfg.CloseTimeout
	if !end.silent {
		_ = k.conn.SetWriteDeadline(time.Now().Add(wait))
		// The rest begins inside a frame. It is a piece of the tape, not to append to.
		_, err := k.conn.Write(k.rest.wire)
		if err == nil {
			_, err = k.conn.Write(appendControl(nil, closeOpcode, closePayload(end)))
		}
		end.silent = err != nil
	}
	k.cutOff = end.silent
	if end.silent {
		wait = 0
	}
	_ = k.conn.SetReadDeadline(time.Now().Add(wait))
}

func closePayload(end *ending) []byte {
	return websocket.FormatCloseMessage(end.code, end.reason)
}

// serve takes the socket through its life: token, place to start, catching up,
// live. It returns nil where the writer is parked.
func (k *socket) serve() *ending {
	if !k.begun {
		k.begun = true
		if end := k.authenticate(); end != nil {
			return end
		}
		if end := k.begin(); end != nil {
			return end
		}
	}
	for {
		idle, end := k.live()
		if idle || end != nil {
			return end
		}
		if end := k.catchUp(); end != nil {
			return end
		}
	}
}

// authenticate waits for the token, and decides what the socket may see.
func (k *socket) authenticate() *ending {
	timeout := time.NewTimer(k.server.cfg.AuthTimeout)
	defer timeout.Stop()
	for {
		token, asked, end := k.shown()
		switch {
		case end != nil:
			return end
		case asked:
			return k.admit(token)
		}
		select {
		case <-k.signal:
			k.looks()
		case <-k.server.ctx.Done():
		case <-timeout.C:
			return badToken("no token came in time")
		}
	}
}

// shown looks whether the peer has shown a token.
func (k *socket) shown() (token string, asked bool, end *ending) {
	if k.server.ctx.Err() != nil {
		return "", false, shutdown()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	token, k.mail.token = k.mail.token, ""
	return token, k.mail.asked, k.mail.quit
}

// admit verifies the token.
func (k *socket) admit(token string) *ending {
	claims, err := k.server.verifier.Load().verify(token)
	if err != nil {
		return badToken("token not accepted")
	}
	k.share = shareOf(token)
	if k.shares = k.server.shares.take(k.share); !k.shares {
		return &ending{code: tryLater, reason: "too many sockets are open with this token"}
	}
	k.expires = claims.ExpiresAt.Time
	k.filter = newFilter(claims, k.request.events, k.request.phones)
	if k.request.deflate {
		k.filter.forDeflate()
	}
	if err := CheckTypes(split(k.request.events)); err != nil {
		k.reply(appendError(nil, err.Error()))
	}
	return nil
}

func badToken(reason string) *ending { return &ending{code: CodeToken, reason: reason} }

func shutdown() *ending { return &ending{code: restarting, reason: "shutting down"} }

// check finds out whether the socket is to end now.
func (k *socket) check() *ending {
	if k.server.ctx.Err() != nil {
		return shutdown()
	}
	k.mu.Lock()
	end := k.mail.quit
	k.mu.Unlock()
	if end != nil {
		return end
	}
	now := time.Now()
	if !now.Before(k.expires) {
		return badToken("token expired")
	}
	if !k.levelBy.IsZero() && now.After(k.levelBy) {
		return k.tooSlow()
	}
	return nil
}

func (k *socket) tooSlow() *ending {
	return &ending{code: CodeSlow, reason: k.sent.String(), slow: true}
}

// control adds what is due beside events: replies and the ping.
func (k *socket) control(b []byte) []byte {
	k.mu.Lock()
	replies := k.mail.replies
	k.mail.replies = nil
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
	k.extendDeadline()
	if _, err := k.conn.Write(b); err != nil {
		// Half a frame may be out: there is no way to say goodbye.
		return &ending{code: abnormal, silent: true, slow: errors.Is(err, os.ErrDeadlineExceeded)}
	}
	k.sent = last
	k.server.metrics.bytes.Add(float64(len(b)))
	k.countSent()
	return nil
}

// countSent counts the events that were written.
func (k *socket) countSent() {
	if k.unwritten > 0 {
		k.server.metrics.frames.Add(float64(k.unwritten))
		k.unwritten = 0
	}
}

// extendDeadline gives a write at least half of WriteTimeout: to set the whole at
// each costs more than it is worth.
func (k *socket) extendDeadline() {
	timeout := k.server.cfg.WriteTimeout
	if now := time.Now(); k.writeBy.Sub(now) < timeout/2 {
		k.writeBy = now.Add(timeout)
		_ = k.conn.SetWriteDeadline(k.writeBy)
		if k.server.ctx.Err() != nil {
			k.hurry() // once more: that may have come before
		}
	}
}

// dropDeadline lets a worker write, who minds none.
func (k *socket) dropDeadline() {
	if !k.writeBy.IsZero() {
		k.writeBy = time.Time{}
		_ = k.conn.SetWriteDeadline(time.Time{})
	}
}

// hurry has a socket end that is to end, even one whose write does not.
func (k *socket) hurry() {
	_ = k.conn.SetWriteDeadline(time.Now().Add(k.server.cfg.CloseTimeout))
	k.wake()
}

// refuse closes a connection that was upgraded in vain.
func (k *socket) refuse(end *ending) {
	k.server.metrics.closed(end)
	k.sayGoodbye(end)
	for {
		if opcode, _, err := k.frames.next(); err != nil || opcode == closeOpcode {
			break
		}
	}
	_ = k.conn.Close()
}

// cut ends the connection at once.
func (k *socket) cut() {
	if k.tcp != nil {
		_ = k.tcp.Close()
		return
	}
	_ = k.conn.Close()
}
