package subscribers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// events are text frames of numbers.
func events(numbers ...int) []byte {
	var wire []byte
	for _, n := range numbers {
		wire = append(wire, text(strconv.Itoa(n))...)
	}
	return wire
}

// ready is a server whose sockets wait for start before they say anything else.
func ready(t *testing.T, script func(p *peer)) (s *server, start chan struct{}) {
	start = make(chan struct{})
	s = startServer(t, func(p *peer) {
		p.write(text(greeting))
		<-start
		script(p)
	})
	return s, start
}

func expectAll(n int) *Round {
	r := NewRound(n, parseNumbers)
	for i := range n {
		r.Sent(i)
		r.Expect(i)
	}
	return r
}

// TestCount: all is well where every event comes at every socket once.
func TestCount(t *testing.T) {
	const sockets, n = 20, 130
	s, start := ready(t, func(p *peer) {
		for i := range n {
			p.write(events(i))
		}
		p.wait()
	})
	p := openPool(t, s, sockets)
	r := expectAll(n)
	if err := p.Begin(r); err != nil {
		t.Fatal(err)
	}
	close(start)
	eventually(t, "all events came", func() bool { return p.Events() == sockets*n })
	c := p.Count()
	if c.Messages != sockets*n || c.Lost+c.Short+c.Doubled != 0 || c.Bytes < c.Messages*3 || c.Latency.TotalCount() != c.Events || p.Sockets() != sockets || len(p.Closes()) > 0 {
		t.Errorf("%+v, %v", c, p.Closes())
	}
	if c.Last.Before(r.began) || c.Last.After(time.Now()) {
		t.Errorf("last at %s", c.Last)
	}
}

// TestFaults: one socket of several gets an event twice, another misses one, a
// third gets one that nobody expects.
func TestFaults(t *testing.T) {
	s, start := ready(t, func(p *peer) {
		switch p.number {
		case 1:
			p.write(events(0, 1, 2, 1, 1, 3))
		case 2:
			p.write(events(0, 1, 3))
		case 3:
			p.write(events(0, 1, 2, 3, 4, 7, -1))
		default:
			p.write(text("0\n1\nnothing\n2\n3")) // several in one message
		}
		p.wait()
	})
	p := openPool(t, s, 5)
	r := NewRound(6, parseNumbers)
	for i := range 5 {
		r.Sent(i)
	}
	for i := range 4 {
		r.Expect(i)
		r.Expect(i) // once is enough
	}
	r.Expect(-1)
	r.Sent(6)
	if err := p.Begin(r); err != nil || r.Expected() != 4 {
		t.Fatal(err, r.Expected())
	}
	close(start)
	eventually(t, "all events came", func() bool { return p.Events() == 20 })
	c := p.Count()
	if c.Lost != 1 || c.Short != 1 || c.Doubled != 2 {
		t.Errorf("%+v", c)
	}
	if again := p.Count(); again.Lost != 1 {
		t.Errorf("counted again: %+v", again)
	}
	// A round begins with nothing.
	if err := p.Begin(expectAll(2)); err != nil {
		t.Fatal(err)
	}
	if c := p.Count(); c.Messages+c.Events+c.Doubled != 0 || c.Lost != 10 || c.Short != 5 {
		t.Errorf("%+v", c)
	}
}

// TestLatency is from when it was sent to when it was read.
func TestLatency(t *testing.T) {
	s, start := ready(t, func(p *peer) {
		time.Sleep(100 * time.Millisecond)
		p.write(events(0))
		p.wait()
	})
	p := openPool(t, s, 1)
	r := expectAll(1)
	if err := p.Begin(r); err != nil {
		t.Fatal(err)
	}
	close(start)
	eventually(t, "it came", func() bool { return p.Events() == 1 })
	if got := p.Count().Latency.Max(); got < 99_000 || got > 9_000_000 {
		t.Errorf("%d µs", got)
	}
}

// TestPingsAndCloses: a ping is answered, a close noted and what is lost by it
// counted; Open opens what is missing.
func TestPingsAndCloses(t *testing.T) {
	s, start := ready(t, func(p *peer) {
		switch p.number {
		case 0:
			p.write(appendFrame(nil, final|opPing, "still there?"))
			if opcode, payload := p.read(t); opcode != opPong || payload != "still there?" {
				t.Errorf("answered with %x %q", opcode, payload)
			}
			p.write(events(0))
			p.wait()
		case 1:
			p.write(append(events(0), appendFrame(nil, final|opClose, "\x0f\xa8too slow")...))
			if opcode, payload := p.read(t); opcode != opClose || payload != "\x0f\xa8too slow" {
				t.Errorf("answered with %x %q", opcode, payload)
			}
		case 2:
			p.write(appendFrame(nil, final|opClose, ""))
		case 3: // it just ends
		case 4:
			p.write([]byte{finalText, 0x80}) // masked
			p.wait()
		default:
			p.wait()
		}
	})
	p := openPool(t, s, 5)
	if err := p.Begin(expectAll(1)); err != nil {
		t.Fatal(err)
	}
	close(start)
	eventually(t, "four are closed", func() bool { return p.Sockets() == 1 && p.Events() == 2 })
	closes := p.Closes()
	if len(closes) != 3 || closes[4008] != (Closed{1, "too slow"}) || closes[noStatus].Count != 1 || closes[Abnormal].Count != 2 {
		t.Errorf("%v", closes)
	}
	if c := p.Count(); c.Lost != 3 || c.Short != 3 {
		t.Errorf("%+v", c)
	}
	if err := p.Open(t.Context(), 4); err != nil || p.Sockets() != 4 {
		t.Errorf("%d sockets, %v", p.Sockets(), err)
	}
	if c := p.Count(); c.Lost != 3 {
		t.Errorf("those that came later count: %+v", c)
	}
	if err := p.Begin(expectAll(1)); err != nil {
		t.Fatal(err)
	}
	if c := p.Count(); c.Lost != 4 || len(p.Closes()) != 0 {
		t.Errorf("%+v, %v", c, p.Closes())
	}
}

// TestUpgrade: the request is as it was asked for, with the first message after
// it, and what comes right after the answer is not missed.
func TestUpgrade(t *testing.T) {
	first := make(chan string, 1)
	s := startServer(t, func(p *peer) {
		_, message := p.read(t)
		first <- message
		p.write(text(greeting))
		p.wait()
	})
	p, err := New(Options{Address: s.address(), Path: "/connection/websocket?format=json", First: []byte(`{"id":1,"connect":{}}`),
		Header: http.Header{"Authorization": {"Bearer t"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Open(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got := <-first; got != `{"id":1,"connect":{}}` {
		t.Error(got)
	}
	if r := s.requests[0]; r.URL.String() != "/connection/websocket?format=json" || r.Header.Get("Authorization") != "Bearer t" || r.Host != s.address() {
		t.Errorf("%+v", r)
	}
}

// TestRefused: Open says why a server takes no sockets.
func TestRefused(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 503 Service Unavailable\r\n\r\n":                                      "upgrade refused: HTTP/1.1 503 Service Unavailable",
		"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n":           "no proper Sec-WebSocket-Accept",
		"HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("x", mostHead) + "\r\n": "it is longer than 8192 bytes",
		"": "EOF",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(answer))
		}()
		p, err := New(Options{Address: listener.Addr().String(), Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Open(t.Context(), 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-done
		_ = listener.Close()
		if err := p.Open(t.Context(), 1); err == nil {
			t.Error("opened at a server that is gone")
		}
	}
}

// TestNeverReady: sockets that close at once, or are never greeted, are told.
func TestNeverReady(t *testing.T) {
	for name, c := range map[string]struct {
		script func(*peer)
		want   string
	}{
		"closed": {func(p *peer) { p.write(appendFrame(nil, final|opClose, "\x0f\xa1token")) }, "of 3 sockets closed again: map[4001:{"},
		"silent": {(*peer).wait, "0 of 3 sockets are ready"},
	} {
		s := startServer(t, c.script)
		p, err := New(Options{Address: s.address(), Path: "/", Loops: 1, Ready: func([]byte) bool { return false }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if err := p.Open(ctx, 3); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStuck: a socket that is stuck takes little, and counts for nothing.
func TestStuck(t *testing.T) {
	taken := make(chan int, 1)
	s := startServer(t, func(p *peer) {
		if p.number == 0 {
			p.write(text(greeting))
			p.wait()
			return
		}
		_ = p.conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
		_ = p.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := p.conn.Write(make([]byte, 8<<20))
		if err == nil {
			t.Error("all was read")
		}
		taken <- n
		p.wait()
	})
	p := openPool(t, s, 1)
	if err := p.OpenStuck(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := <-taken; n > 1<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	if p.Sockets() != 1 {
		t.Errorf("%d sockets", p.Sockets())
	}
	p.CloseStuck()
}

func TestRaiseFiles(t *testing.T) {
	if err := RaiseFiles(1); err != nil {
		t.Error(err)
	}
	if err := RaiseFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "ask for at most") {
		t.Error(err)
	}
}

func ExampleParse() {
	fmt.Println(Parse(parseNumbers)([]byte("3\n4"), nil))
	// Output: [3 4]
}
