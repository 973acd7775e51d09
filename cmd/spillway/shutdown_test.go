package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/store/redis/localredis"
)

// stuck opens sockets that are never read, with little room in the kernel.
func (p *process) stuck(n int, query string) []*websocket.Conn {
	p.t.Helper()
	small := func(_, _ string, c syscall.RawConn) (err error) {
		outer := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if outer != nil {
			return outer
		}
		return err
	}
	dialer := websocket.Dialer{NetDialContext: (&net.Dialer{Control: small}).DialContext, HandshakeTimeout: 20 * time.Second}
	var conns []*websocket.Conn
	for range n {
		conn, _, err := dialer.Dial("ws://"+p.public+"/ws?token="+testToken(p.t)+query, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// historyWebhook has one event of so many bytes.
func historyWebhook(n, bytes int) []byte {
	text := make([]byte, bytes)
	for i := range text {
		text[i] = 'x'
	}
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"102","time":%d,"changes":[{"field":"history","value":{"n":%d,"text":%q}}]}]}`,
		time.Now().Unix(), n, text)
}

// testShutdown stops a receiver under load with many subscribers, which go on at
// another one or at the same; a stuck one among them does not hold it up for long.
func testShutdown(t *testing.T, receivers int, env ...string) {
	const many = 100
	f := newFleet(t, receivers, env...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	var readers []*reader
	first := f.nodes[0]
	for i := range many {
		r := f.newReader(fmt.Sprint("reader ", i), "")
		r.where = first.process.Load
		readers = append(readers, r.narrow("events=message:*", func(p posted) bool { return p.phone != "" }).follow(ctx, &group))
	}
	for _, r := range readers {
		r.hears()
	}
	f.load(fleetPace)
	time.Sleep(500 * time.Millisecond)
	shut := func(within time.Duration) {
		began := time.Now()
		if code := first.process.Load().terminate(within); code != exitOK {
			t.Errorf("exit code %d", code)
		}
		t.Logf("stopped after %s", time.Since(began).Round(time.Millisecond))
	}
	// They go on at the last receiver, which is the same one where there is one.
	for _, r := range readers {
		r.mu.Lock()
		r.where = f.nodes[len(f.nodes)-1].process.Load
		r.mu.Unlock()
	}
	shut(shutdownTimeout / 2)
	closedByShutdown(t, readers)
	f.start(first)
	time.Sleep(300 * time.Millisecond)

	first.process.Load().stuck(1, "")
	for n := range 4 {
		if status := first.process.Load().post(historyWebhook(n, 1<<20)); status != 200 {
			t.Fatalf("answer %d", status)
		}
	}
	time.Sleep(300 * time.Millisecond)
	shut(shutdownTimeout / 2)
	f.start(first)
	f.settle()
	f.haveAll(readers, cancel, &group)
}

// closedByShutdown wants each reader to have been told why its connection ended.
func closedByShutdown(t *testing.T, readers []*reader) {
	t.Helper()
	for _, r := range readers {
		r.mu.Lock()
		codes := fmt.Sprint(r.codes)
		r.mu.Unlock()
		if codes != "map[1012:1]" {
			t.Errorf("%s was closed with %s", r.name, codes)
		}
	}
}

func TestShutdownEmbedded(t *testing.T) {
	t.Parallel()
	testShutdown(t, 1)
}

func TestShutdownRedis(t *testing.T) {
	t.Parallel()
	testShutdown(t, 2, single(startRedis(t, localredis.Options{})).env()...)
}
