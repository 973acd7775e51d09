package localredis

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes connections on to a server, and disturbs them when told to. All
// methods may be called concurrently.
type Proxy struct {
	listener net.Listener
	target   string
	delay    atomic.Int64 // a time.Duration
	lose     atomic.Bool
	running  sync.WaitGroup

	mu sync.Mutex
	// cut ends new connections at once, links are the open ones. Guarded by mu.
	cut   bool
	links map[*link]struct{}
}

// link is a client's connection and the one made for it to the server.
type link struct {
	client, server net.Conn
	ended          chan struct{}
}

// StartProxy starts a proxy before the server at target.
func StartProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp4", address(0))
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, links: make(map[*link]struct{})}
	p.running.Go(p.serve)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all connections, and new ones at once, until Restore.
func (p *Proxy) Cut() { p.setCut(true) }

// Restore lets new connections through again.
func (p *Proxy) Restore() { p.setCut(false) }

func (p *Proxy) setCut(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	if cut {
		p.Reset()
	}
}

// Reset resets all connections. New ones are let through, if they were before.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		p.endLocked(l, true)
	}
}

// Delay holds what is sent, either way, for d before passing it on. What is held
// already is not passed on sooner: an hour, ended with Reset, is a network that
// loses everything and says nothing.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// LoseReply drops what a server sends next, and resets that connection: the
// command was run, and its client does not know. It does so once.
func (p *Proxy) LoseReply() { p.lose.Store(true) }

// Close resets all connections and returns when all goroutines have ended.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.Cut()
	p.running.Wait()
	return err
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.pass(client) })
	}
}

// pass connects a client to the server until one of them has enough.
func (p *Proxy) pass(client net.Conn) {
	server, err := net.DialTimeout("tcp4", p.target, askTimeout)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server, ended: make(chan struct{})}
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.cut {
		p.endLocked(l, true)
	}
	p.mu.Unlock()
	p.running.Go(func() { p.copy(l, client, server) })
	p.copy(l, server, client)
}

// copy passes on what one side sends, and ends the link with it.
func (p *Proxy) copy(l *link, from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	lost := false
	for {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		if lost = from == l.server && p.lose.CompareAndSwap(true, false); lost {
			break
		}
		select {
		case <-time.After(time.Duration(p.delay.Load())):
		case <-l.ended:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(l, lost)
}

// endLocked closes both connections. A reset takes back what was not yet read.
func (p *Proxy) endLocked(l *link, reset bool) {
	if _, open := p.links[l]; !open {
		return
	}
	delete(p.links, l)
	close(l.ended)
	for _, conn := range []net.Conn{l.client, l.server} {
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0) // Close says more
		}
		_ = conn.Close()
	}
}
