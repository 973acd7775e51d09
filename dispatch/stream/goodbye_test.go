package stream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// TestCloseFrameStandsAlone: a socket that ends while half a frame is out writes the
// other half before it says goodbye.
func TestCloseFrameStandsAlone(t *testing.T) {
	s := bubbleServer(t, newMemoryFeed(1))
	defer func() {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	server, client := net.Pipe()
	k := newSocket(s, server, nil, request{token: "x"})
	if end := s.enter(k); end != nil {
		t.Fatal(end.reason)
	}
	entry := store.Entry{UID: uuid.New(), Type: "message:new", Payload: []byte(`{"a":1}`)}
	wire := appendEvent(nil, mark{}, &entry)
	half := len(wire) / 2
	k.begun = true
	k.rest = rest{run: run{wire: wire, notes: make([]note, 1)}, wire: wire[half:]}
	k.mail.quit = &ending{code: restarting, reason: "test"}
	k.pingAt, k.positionAt = time.Now().Add(time.Hour), time.Now().Add(time.Hour)
	go func() {
		_, _ = server.Write(wire[:half])
		k.write()
		k.finished() // the reader's part
	}()
	c := &raw{t: t, conn: client, in: bufio.NewReader(client)}
	for i, want := range []int{websocket.TextMessage, websocket.CloseMessage} {
		if opcode, payload, err := c.frame(); err != nil || opcode != want {
			t.Fatalf("frame %d: opcode %d, %q, %v", i, opcode, payload, err)
		}
	}
	if _, _, err := c.frame(); !errors.Is(err, io.EOF) {
		t.Errorf("after the close frame: %v", err)
	}
}

// TestStuckCatchUpsAreBounded: readers that ask for the past and stand still hold no
// more memory than those that have a turn may.
func TestStuckCatchUpsAreBounded(t *testing.T) {
	feed := newMemoryFeed(1)
	large := feed.add(0, "webhook:history", `{"x":"`+strings.Repeat("x", 3<<20)+`"}`)
	r := newRig(t, feed, func(c *Config) {
		c.SendBuffer, c.CatchUps, c.CatchUpBytes = 4096, 4, 2<<20
	})
	const stuck, fit = 12, 3 // of 3 MiB each, in 8 MiB
	for range stuck {
		r.open("since=0")
	}
	eventually(t, "those that take too much are cut off", func() bool {
		return r.server.openSockets() <= fit && r.server.stalls.bytes() > 0
	})
	if got := r.server.stalls.bytes(); got > 8<<20 {
		t.Errorf("%d bytes are held", got)
	}
	r.open("since=0").events([]store.Entry{large})
}

func (l *stalls) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}
