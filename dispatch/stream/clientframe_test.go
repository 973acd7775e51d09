package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fasthttp/websocket"
)

// TestClientFramesGolden reads the samples of RFC 6455, 5.7, as far as a client may
// send them.
func TestClientFramesGolden(t *testing.T) {
	wire := "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58" + // "Hello", masked
		"\x01\x83\x00\x00\x00\x00Hel" + "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58" + "\x80\x82\x00\x00\x00\x00lo" +
		"\x82\xfe\x01\x00\x00\x00\x00\x00" + string(make([]byte, 256)) +
		"\x88\x82\x00\x00\x00\x00\x03\xe8"
	want := []struct {
		opcode  int
		payload string
	}{
		{websocket.TextMessage, "Hello"}, {websocket.PingMessage, "Hello"}, {websocket.TextMessage, "Hello"},
		{websocket.BinaryMessage, string(make([]byte, 256))}, {websocket.CloseMessage, "\x03\xe8"},
	}
	frames := clientFrames{from: bytes.NewBufferString(wire)}
	for i, w := range want {
		opcode, payload, err := frames.next()
		if err != nil || opcode != w.opcode || string(payload) != w.payload {
			t.Errorf("%d: got %d %q, %v; want %d %q", i, opcode, payload, err, w.opcode, w.payload)
		}
	}
	if _, _, err := frames.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// FuzzClientFrames gives a socket what a client may send behind the handshake.
func FuzzClientFrames(f *testing.F) {
	token, err := Mint(secret, claims(nil))
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range badFrames(token) {
		f.Add(row.send, row.query != "")
	}
	f.Fuzz(func(t *testing.T, sent []byte, authorized bool) {
		broken := readBounded(t, sent)
		req := request{}
		if authorized {
			req.token = token
		}
		synctest.Test(t, func(t *testing.T) {
			answered(t, serveBytes(t, sent, req), broken)
		})
	})
}

// readBounded reads all frames; what that allocates goes by what was sent, not by
// what it promises. It tells the code of the violation, 0 for none.
func readBounded(t *testing.T, sent []byte) int {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	frames := clientFrames{from: bytes.NewReader(sent)}
	for read := 0; ; {
		opcode, payload, err := frames.next()
		if read += len(payload); read > len(sent) || len(payload) > readLimit {
			t.Fatalf("%d bytes of payload, %d in all, of %d", len(payload), read, len(sent))
		}
		if err == nil && opcode != closeOpcode {
			continue
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+64*len(sent)); got > most {
			t.Fatalf("%d bytes allocated for %d", got, len(sent))
		}
		if broken := (*violation)(nil); errors.As(err, &broken) {
			return broken.code
		}
		return 0
	}
}

// serveBytes serves a client that sends these bytes and ends, and gives what the
// server wrote. It returns once nothing is left of the socket.
func serveBytes(t *testing.T, sent []byte, req request) []byte {
	t.Helper()
	s := bubbleServer(t, newMemoryFeed(1))
	conn := &bytesConn{in: bytes.NewReader(sent)}
	s.serve(conn, req)
	for deadline := time.Now().Add(time.Hour); s.openSockets() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Second)
	}
	if open, counted := s.openSockets(), len(s.shares.openOf()); open > 0 || counted > 0 {
		t.Errorf("%d sockets and %d tokens are left", open, counted)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	return conn.out.Bytes()
}

func (s *Server) openSockets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// answered checks that whole frames were written, and nothing behind a close frame.
func answered(t *testing.T, out []byte, broken int) {
	t.Helper()
	c := &raw{t: t, in: bufio.NewReader(bytes.NewReader(out))}
	for {
		opcode, payload, err := c.frame()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if opcode != websocket.CloseMessage {
			continue
		}
		if _, _, err := c.frame(); !errors.Is(err, io.EOF) {
			t.Fatalf("something stands behind the close frame in %q", out)
		}
		if broken != 0 {
			if code := int(binary.BigEndian.Uint16(payload)); code != broken && code != CodeToken {
				t.Errorf("closed with %d, want %d", code, broken)
			}
		}
		return
	}
}

// bytesConn is a connection whose peer sent all it will.
type bytesConn struct {
	in *bytes.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func (c *bytesConn) Read(b []byte) (int, error) { return c.in.Read(b) }

func (c *bytesConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *bytesConn) Close() error                     { return nil }
func (c *bytesConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *bytesConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *bytesConn) SetDeadline(time.Time) error      { return nil }
func (c *bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (c *bytesConn) SetWriteDeadline(time.Time) error { return nil }
