package ingest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/valyala/fasthttp"
)

// A sender who announces a body and no signature is answered before any of the
// body came.
func TestUnauthorizedWithoutBody(t *testing.T) {
	h := start(t, nil)
	for _, length := range []int{1, 100, 8 << 10, 3 << 20, 100 << 20} {
		c := h.dial().send(header("sha256=00", length))
		if a := c.want(401); !a.Close {
			t.Error("the connection is kept")
		}
		c.wantEnd()
	}
	h.dial().send("POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").want(401)
	if got := h.counted(401); got != 6 {
		t.Errorf("401 counted %d times, want 6", got)
	}
}

// meter is a connection that counts what is read from it before the first byte
// of an answer.
type meter struct {
	net.Conn
	read    int
	written bool
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if !m.written {
		m.read += n
	}
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	m.written = true
	return m.Conn.Write(p)
}

func TestUnauthorizedReadsLittle(t *testing.T) {
	h := start(t, nil)
	request := header("nonsense", 3<<20) + strings.Repeat("x", 3<<20)
	near, far := net.Pipe()
	defer near.Close()
	m := &meter{Conn: far}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = h.http.ServeConn(m)
	}()
	go func() { _, _ = io.WriteString(near, request) }()
	wrap(t, near).want(401)
	_ = near.Close()
	<-served
	if m.read > 8<<10 {
		t.Errorf("%d bytes read before the answer", m.read)
	}
}

// Whoever writes all of a large body before reading still sees the answer.
func TestLargeBodiesSeeTheirAnswer(t *testing.T) {
	h := start(t, nil)
	large := strings.Repeat("x", 5<<20)
	chunked := "Transfer-Encoding: chunked\r\n\r\n"
	var chunks strings.Builder
	for i := 0; i < len(large); i += 64 << 10 {
		fmt.Fprintf(&chunks, "%x\r\n%s\r\n", 64<<10, large[i:i+64<<10])
	}
	chunks.WriteString("0\r\n\r\n")
	head := "POST /api/webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: " + Sign(testSecret, []byte(large)) + "\r\n"
	for _, test := range []struct {
		name, request string
		code          int
	}{
		{"too large", signed(large), 413},
		{"too large in chunks", head + chunked + chunks.String(), 413},
		{"no signature", post("", large), 401},
		{"other path", strings.Replace(signed(large), "webhook", "other", 1), 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := h.dial().send(test.request)
			c.want(test.code)
			c.wantEnd()
		})
	}
	h.shelf.set(nil, io.ErrShortWrite)
	h.dial().send(signed(large[:4<<20])).want(503)
	if kept := h.shelf.kept(); len(kept) != 0 {
		t.Errorf("%d webhooks kept", len(kept))
	}
}

func TestLargestChunkedBody(t *testing.T) {
	h := start(t, func(c *Config, _ *shelf) { c.MaxBody = 8 << 10 })
	head := "POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: "
	for size, code := range map[int]int{8 << 10: 200, 8<<10 + 1: 413} {
		body := strings.Repeat("x", size)
		h.dial().send(head, Sign(testSecret, []byte(body)), "\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)).want(code)
	}
}

func TestTooLargeIsKnownFromItsHeader(t *testing.T) {
	h := start(t, nil)
	h.dial().send(header(Sign(testSecret, nil), 5<<20)).want(413)
}

func TestExpectContinue(t *testing.T) {
	h := start(t, nil)
	expecting := func(request string) string {
		return strings.Replace(request, "Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n", 1)
	}
	c := h.dial().send(expecting(header(Sign(testSecret, []byte("body")), 4)))
	if a := c.answer(); a.StatusCode != http.StatusContinue {
		t.Fatalf("answered %d, want 100", a.StatusCode)
	}
	c.send("body").want(200)
	if kept := h.shelf.kept(); len(kept) != 1 || string(kept[0].Body) != "body" {
		t.Errorf("kept %v", kept)
	}
	h.dial().send(expecting(header("", 4))).want(401)
	h.dial().send(expecting(header(Sign(testSecret, nil), 5<<20))).want(413)
}

func TestSlowSenders(t *testing.T) {
	h := start(t, func(c *Config, _ *shelf) { c.ReadTimeout = 300 * time.Millisecond })
	body := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name, begin, drip string
		code              int
	}{
		{"half a header", "POST /api/webhook HTTP/1.1\r\nHost: x\r\nA: ", "a", 408},
		{"header alone", header(Sign(testSecret, []byte(body)), len(body)), "", 408},
		{"a byte at a time", header(Sign(testSecret, []byte(body)), len(body)), "x", 408},
		{"chunked", "POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: " +
			Sign(testSecret, []byte(body)) + "\r\n\r\n", "1\r\nx\r\n", 408},
		{"inside a chunk's size", "POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: " +
			Sign(testSecret, []byte(body)) + "\r\n\r\n1;more", "", 408},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := h.dial().send(test.begin)
			begin := time.Now()
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				for test.drip != "" {
					if _, err := io.WriteString(c, test.drip); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
			c.want(test.code)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("answered after %s", took)
			}
			_ = c.Close()
			<-stop
		})
	}
}

// A body that is cut off is not taken for a whole one.
func TestSenderLeaves(t *testing.T) {
	h := start(t, nil)
	body := inChanges(statusChange)
	c := h.dial().send(header(Sign(testSecret, []byte(body)), len(body)+10), body)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.want(400)
	if kept := h.shelf.kept(); len(kept) != 0 {
		t.Errorf("%d webhooks kept", len(kept))
	}
}

// What is announced costs nothing; what came is counted, and beyond the limit it
// is refused.
func TestInFlight(t *testing.T) {
	h := start(t, func(c *Config, s *shelf) {
		c.MaxBody, c.MaxInFlight = 64<<10, 128<<10
		s.enter, s.leave = make(chan struct{}), make(chan struct{})
	})
	var slow []*client
	for range 20 {
		slow = append(slow, h.dial().send(header(Sign(testSecret, nil), 64<<10), "x"))
	}
	lent := func() int64 { return h.buffers.inFlight.Load() }
	eventually(t, "20 small buffers lent", func() bool { return lent() == 20*4<<10 })

	full := signed(strings.Repeat("x", 20<<10))
	waiting := h.dial().send(full)
	<-h.shelf.enter
	if got := lent(); got != 20*4<<10+32<<10 {
		t.Errorf("%d bytes in flight", got)
	}
	h.dial().send(full).want(503)
	for _, c := range slow {
		_ = c.Close()
	}
	eventually(t, "the slow ones' buffers given back", func() bool { return lent() == 32<<10 })
	again := h.dial().send(full)
	<-h.shelf.enter
	close(h.shelf.leave)
	waiting.want(200)
	again.want(200)
	eventually(t, "all given back", func() bool { return lent() == 0 })
}

func TestConnectionLimit(t *testing.T) {
	h := start(t, func(c *Config, _ *shelf) { c.MaxConnections = 3 })
	var open []*client
	for range 3 {
		open = append(open, h.dial().send(signed("x")))
		open[len(open)-1].want(200)
	}
	beyond := h.dial().send(signed("x"))
	if a := beyond.want(503); !a.Close {
		t.Error("a refused connection is kept")
	}
	beyond.wantEnd()
	if got := testutil.ToFloat64(h.metrics.refused); got != 1 {
		t.Errorf("%v refusals counted, want 1", got)
	}

	// A WebSocket no longer counts.
	open[0].send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if a := open[0].answerTo("GET"); a.StatusCode != 101 {
		t.Fatalf("answered %d, want 101", a.StatusCode)
	}
	eventually(t, "the WebSocket not counted", func() bool { return h.connections.count() == 2 })
	h.dial().send(signed("x")).want(200)
	echo := make([]byte, 4)
	open[0].send("ping")
	if _, err := io.ReadFull(open[0].r, echo); err != nil || string(echo) != "ping" {
		t.Errorf("echoed %q, %v", echo, err)
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a fourth connection's end noticed", func() bool { return h.connections.count() <= 3 })
}

// Far more connections than may be told so are refused without a queue.
func TestManyRefusals(t *testing.T) {
	h := start(t, func(c *Config, _ *shelf) { c.MaxConnections = 1 })
	first := h.dial().send(signed("x"))
	first.want(200)
	for range 3 * maxRefusing {
		h.dial()
	}
	eventually(t, "all refused", func() bool { return testutil.ToFloat64(h.metrics.refused) == 3*maxRefusing })
	first.send(signed("x")).want(200)
}

// active is how many connections have sent something and wait for an answer.
func (h *harness) active() (n int) {
	h.connections.mu.Lock()
	defer h.connections.mu.Unlock()
	for c := range h.connections.open {
		if c.state.Load() == int32(fasthttp.StateActive) {
			n++
		}
	}
	return n
}

// inUse is the memory of this process's heap and stacks, in bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A connection that sends a header and stops costs its buffers, whatever it
// announced. The senders' own side is in the figure.
func TestThousandHeaders(t *testing.T) {
	const count, most = 1000, 32 << 10
	h := start(t, nil)
	before := inUse()
	for range count {
		h.dial().send(header(Sign(testSecret, nil), 4<<20))
	}
	eventually(t, "all headers reached", func() bool { return h.active() == count })
	each := (inUse() - before) / count
	t.Logf("%d bytes a connection", each)
	if each > most {
		t.Errorf("%d bytes a connection, want at most %d", each, most)
	}
	if lent := h.buffers.inFlight.Load(); lent != 0 {
		t.Errorf("%d bytes in flight, want none", lent)
	}
	h.dial().send(signed("x")).want(200)
}
