package subscribers

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server upgrades every connection and hands it to a script, with its number
// from 0.
type server struct {
	t        *testing.T
	listener net.Listener
	script   func(p *peer)
	group    sync.WaitGroup

	mu    sync.Mutex
	peers []*peer
	// requests are the heads of the upgrades.
	requests []*http.Request
}

// peer is the server's side of a socket.
type peer struct {
	number int
	conn   net.Conn
	reader *bufio.Reader
}

func startServer(t *testing.T, script func(p *peer)) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: listener, script: script}
	s.group.Go(s.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for _, p := range s.peers {
			_ = p.conn.Close()
		}
		s.mu.Unlock()
		s.group.Wait()
	})
	return s
}

func (s *server) address() string { return s.listener.Addr().String() }

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.group.Go(func() {
			defer conn.Close()
			p := &peer{conn: conn, reader: bufio.NewReader(conn)}
			request, err := http.ReadRequest(p.reader)
			if err != nil {
				return
			}
			s.mu.Lock()
			p.number = len(s.peers)
			s.peers = append(s.peers, p)
			s.requests = append(s.requests, request)
			s.mu.Unlock()
			p.write(answer(request))
			s.script(p)
		})
	}
}

func answer(request *http.Request) []byte {
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + acceptKey))
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
}

func (p *peer) write(b []byte) { _, _ = p.conn.Write(b) }

// wait waits until the other side is gone.
func (p *peer) wait() { _, _ = io.Copy(io.Discard, p.reader) }

// read reads a client's frame of up to 125 bytes.
func (p *peer) read(t *testing.T) (opcode byte, payload string) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(p.reader, head); err != nil {
		t.Errorf("read frame: %v", err)
		return 0, ""
	}
	if head[1]&0x80 == 0 {
		t.Error("the frame of a client is not masked")
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(p.reader, body); err != nil {
		t.Errorf("read frame: %v", err)
	}
	for i := range body {
		body[i] ^= head[2+i%4]
	}
	return head[0] & 0x0f, string(body)
}

// appendFrame adds a frame of a server.
func appendFrame(b []byte, first byte, payload string) []byte {
	b = append(b, first)
	switch n := len(payload); {
	case n <= 125:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

const (
	final     = 0x80
	greeting  = "hello"
	finalText = final | opText
)

// text is a text frame.
func text(payload string) []byte { return appendFrame(nil, finalText, payload) }

// parseNumbers takes a message of one number a line; other lines have none.
func parseNumbers(message []byte, numbers []int) []int {
	for line := range strings.SplitSeq(string(message), "\n") {
		if n, err := strconv.Atoi(line); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// openPool opens sockets that are ready once they are greeted.
func openPool(t *testing.T, s *server, n int) *Pool {
	t.Helper()
	p, err := New(Options{Address: s.address(), Path: "/", Loops: 2, Dials: 8,
		Ready: func(message []byte) bool { return string(message) == greeting }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Open(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return p
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("it never came that %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
