package ingest

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// lingerTime and lingerBytes bound how long a connection that is closed on a
	// sender who still sends is read from, so that the sender sees the answer
	// and not a reset. What is read is dropped, and takes lingerBuffer bytes.
	lingerTime   = 2 * time.Second
	lingerBytes  = 16 << 20
	lingerBuffer = 16 << 10
)

var lingerBuffers = sync.Pool{New: func() any {
	buffer := make([]byte, lingerBuffer)
	return &buffer
}}

// conn is an accepted connection.
type conn struct {
	net.Conn
	// counted is false for one that was refused.
	counted bool
	// state is the fasthttp.ConnState it is in.
	state atomic.Int32
	// linger is set where the last answer left the sender sending.
	linger atomic.Bool
	// timedOut is set by a read that met its deadline. The error itself does not
	// always get through: a broken chunk hides its cause.
	timedOut atomic.Bool
	// client is what is known of the client's certificate.
	client   atomic.Int32
	closing  sync.Once
	closeErr error
}

// connOf finds the conn below what fasthttp serves, nil where there is none.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	own, _ := c.(*conn)
	return own
}

// NetConn is the accepted connection itself.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		c.timedOut.Store(true)
	}
	return n, err
}

// Close closes the connection, after its sender was heard out where it lingers.
func (c *conn) Close() error {
	c.closing.Do(func() {
		if c.linger.Load() {
			c.drain()
		}
		c.closeErr = c.Conn.Close()
	})
	return c.closeErr
}

// abort closes the socket at once. Whoever serves the connection sees that and
// calls Close.
func (c *conn) abort() { _ = c.Conn.Close() }

// drain ends the sending side and drops what the other side still sends.
func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buffer := lingerBuffers.Get().(*[]byte)
	defer lingerBuffers.Put(buffer)
	for dropped := 0; dropped < lingerBytes; {
		n, err := c.Conn.Read(*buffer)
		if err != nil {
			return
		}
		dropped += n
	}
}

// connections knows every connection that is served over HTTP, and how many more
// may be.
type connections struct {
	limit int

	mu sync.Mutex
	// open holds those that are served, and the refused ones until they are told.
	open map[*conn]struct{}
	// counted is how many of open count against limit.
	counted int
	// closed is set under mu, and read without it.
	closed atomic.Bool
	// empty is closed once closed and nothing is open.
	empty chan struct{}
}

func newConnections(limit int) *connections {
	return &connections{limit: limit, open: make(map[*conn]struct{}), empty: make(chan struct{})}
}

// add takes in a connection; its counted is false where that is beyond the
// limit. It returns nil, and closes the connection, once closed.
func (cs *connections) add(accepted net.Conn) *conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed.Load() {
		_ = accepted.Close()
		return nil
	}
	c := &conn{Conn: accepted, counted: cs.counted < cs.limit}
	cs.open[c] = struct{}{}
	if c.counted {
		cs.counted++
	}
	return c
}

// remove forgets a connection, which nobody serves any more.
func (cs *connections) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, c)
	if c.counted {
		cs.counted--
	}
	if cs.closed.Load() && len(cs.open) == 0 {
		close(cs.empty)
	}
}

// count is how many are open, the refused ones not counted.
func (cs *connections) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.counted
}

// close takes in no more, and aborts those that no request is served on.
func (cs *connections) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed.CompareAndSwap(false, true) && len(cs.open) == 0 {
		close(cs.empty)
	}
	for c := range cs.open {
		switch fasthttp.ConnState(c.state.Load()) {
		case fasthttp.StateActive, fasthttp.StateHijacked: // the latter is somebody else's
		default:
			c.abort()
		}
	}
}

// abort closes all sockets.
func (cs *connections) abort() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		c.abort()
	}
}

// changed follows the state of a connection for fasthttp.
func (cs *connections) changed(served net.Conn, state fasthttp.ConnState) {
	c := connOf(served)
	if c == nil {
		return
	}
	c.state.Store(int32(state))
	// Either this sees that all is closing, or close sees that this is idle.
	if state == fasthttp.StateIdle && cs.closed.Load() {
		_ = served.Close()
	}
}
