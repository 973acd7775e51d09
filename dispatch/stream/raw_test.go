package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// raw is a client that sends bytes as a test says.
type raw struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// handshake is the head of a good upgrade request.
func handshake(query string) string {
	return "GET /ws?" + query + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
}

func (r *rig) connect() *raw {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.host)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &raw{t: r.t, conn: conn, in: bufio.NewReader(conn)}
}

// upgraded is a raw client behind the handshake; extra is sent together with it.
func (r *rig) upgraded(query string, extra ...byte) *raw {
	r.t.Helper()
	c := r.connect()
	c.send(append([]byte(handshake(query)), extra...))
	if got := c.answer(); got.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("upgrade answered %d", got.StatusCode)
	}
	return c
}

// send ignores errors: the server may have closed by then.
func (c *raw) send(b []byte) { _, _ = c.conn.Write(b) }

func (c *raw) answer() *http.Response {
	c.t.Helper()
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, response.Body)
	}
	return response
}

// frame reads one frame of the server, which must be whole, unmasked and final.
func (c *raw) frame() (opcode int, payload []byte, err error) {
	var head [10]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1])
	switch head[1] {
	case 126:
		_, err = io.ReadFull(c.in, head[2:4])
		length = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, err = io.ReadFull(c.in, head[2:10])
		length = binary.BigEndian.Uint64(head[2:])
	}
	if err == nil && (head[0]&0xf0 != 0x80 || head[1]&0x80 != 0) {
		err = errors.New("a frame that is not final, or masked")
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.in, payload)
	return int(head[0] & 0x0f), payload, err
}

// await reads until a message of the type comes.
func (c *raw) await(kind string) message {
	c.t.Helper()
	for {
		opcode, payload, err := c.frame()
		if err != nil || opcode == websocket.CloseMessage {
			c.t.Fatalf("want a %s, got opcode %d %q, %v", kind, opcode, payload, err)
		}
		if opcode == websocket.TextMessage {
			if m := decode(c.t, payload); m.Type == kind {
				return m
			}
		}
	}
}

// ended reads until the end: the code of the close frame, after which nothing may
// come, or 1006 where there is none.
func (c *raw) ended() int {
	c.t.Helper()
	code := websocket.CloseAbnormalClosure
	for {
		opcode, payload, err := c.frame()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			c.t.Fatal("the connection does not end")
		case err != nil:
			return code
		case code != websocket.CloseAbnormalClosure:
			c.t.Fatalf("opcode %d %q behind the close frame", opcode, payload)
		case opcode == websocket.CloseMessage && len(payload) == 0:
			code = websocket.CloseNoStatusReceived
		case opcode == websocket.CloseMessage:
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// masked is a client's frame: the first byte as it is, and the true length.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := []byte{1, 2, 3, 4}
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// promised is a header that promises so many bytes, and nothing behind it.
func promised(first byte, length uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, length)
	return append(b, 1, 2, 3, 4)
}

func closing(payload string) []byte { return masked(0x88, payload) }

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func repeat(frame []byte, n int) []byte { return bytes.Repeat(frame, n) }

// neighbour is a well-behaved socket: it answers pings, and every event that check
// adds must reach it, in order.
type neighbour struct {
	rig  *rig
	uids chan string
	// one check after the other.
	mu sync.Mutex
}

func (r *rig) neighbour() *neighbour {
	r.t.Helper()
	p := r.open("")
	p.live()
	_ = p.conn.SetReadDeadline(time.Time{})
	n := &neighbour{rig: r, uids: make(chan string, 1024)}
	go func() {
		defer close(n.uids)
		for {
			var m message
			if p.conn.ReadJSON(&m) != nil {
				return
			}
			if !strings.HasPrefix(m.Type, "stream:") {
				n.uids <- m.UID.String()
			}
		}
	}()
	return n
}

// skip drops events that were added beside.
func (n *neighbour) skip(events int) {
	for range events {
		<-n.uids
	}
}

func (n *neighbour) check(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	want := n.rig.feed.add(0, "message:new", `{}`).UID.String()
	select {
	case got := <-n.uids:
		if got != want {
			t.Errorf("the neighbour got %q, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("the neighbour did not get its event")
	}
}
