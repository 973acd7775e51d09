package ingest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// maxRefusing bounds how many connections are told that there are too many;
	// one more than that is closed without a word.
	maxRefusing = 64
	// refuseTime bounds the telling, a TLS handshake included.
	refuseTime = time.Second
	// minAcceptDelay and maxAcceptDelay bound the wait after a failed accept,
	// which doubles with each.
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// refusal is what a connection beyond the limit gets.
var refusal = fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"+
	"Retry-After: %s\r\nContent-Length: 0\r\n\r\n", retryAfter)

// listener accepts connections within the limit and refuses the others. It goes
// on where the process is out of descriptors or memory.
type listener struct {
	net.Listener
	connections *connections
	metrics     *metrics
	logger      *slog.Logger
	// secure gives the TLS to serve with, nil for plain HTTP.
	secure *tls.Config

	refusing chan struct{}
	closing  sync.Once
	closed   chan struct{}
	closeErr error
}

func newListener(inner net.Listener, cs *connections, m *metrics, logger *slog.Logger) *listener {
	return &listener{
		Listener: inner, connections: cs, metrics: m, logger: logger,
		refusing: make(chan struct{}, maxRefusing), closed: make(chan struct{}),
	}
}

// Accept gives the next connection to serve. net.ErrClosed ends it.
func (l *listener) Accept() (net.Conn, error) {
	delay := minAcceptDelay
	for {
		accepted, err := l.Listener.Accept()
		if err != nil && !passing(err) {
			return nil, err
		}
		if err != nil {
			l.logger.Warn("cannot accept a connection, trying again; out of files: raise the limit "+
				"(ulimit -n, LimitNOFILE) or lower limits.connections", "error", err)
			if !l.wait(delay) {
				return nil, net.ErrClosed
			}
			delay = min(2*delay, maxAcceptDelay)
			continue
		}
		c := l.connections.add(accepted)
		switch {
		case c == nil:
			return nil, net.ErrClosed
		case !c.counted:
			l.refuse(c)
		case l.secure != nil:
			return tls.Server(c, l.secure), nil
		default:
			return c, nil
		}
	}
}

// passing reports whether a failed accept is worth another try.
func passing(err error) bool {
	for _, cause := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// wait reports whether the time passed without the listener being closed.
func (l *listener) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closed:
		return false
	}
}

// refuse tells a connection that there are too many, without making the next
// one wait for that.
func (l *listener) refuse(c *conn) {
	l.metrics.refused.Inc()
	select {
	case l.refusing <- struct{}{}:
	default:
		l.connections.remove(c)
		_ = c.Close()
		return
	}
	go func() {
		defer func() { <-l.refusing }()
		defer l.connections.remove(c)
		var told net.Conn = c
		if l.secure != nil {
			told = tls.Server(c, l.secure)
		}
		if c.SetDeadline(time.Now().Add(refuseTime)) == nil {
			_, err := told.Write(refusal)
			c.linger.Store(err == nil)
		}
		_ = told.Close()
	}()
}

// Close stops accepting; the connections stay.
func (l *listener) Close() error {
	l.closing.Do(func() {
		close(l.closed)
		l.closeErr = l.Listener.Close()
	})
	return l.closeErr
}
