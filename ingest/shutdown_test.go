package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// shutdown runs Shutdown aside.
func (h *harness) shutdown(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- h.Shutdown(ctx) }()
	eventually(h.t, "the shutdown begun", h.connections.closed.Load)
	return done
}

func TestShutdownFinishesWhatWasTaken(t *testing.T) {
	h := start(t, func(_ *Config, s *shelf) {
		s.enter, s.leave = make(chan struct{}), make(chan struct{})
	})
	idle, fresh := h.dial(), h.dial()
	taken := h.dial().send(signed("taken"))
	<-h.shelf.enter
	idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").want(404)
	halfBody := h.dial().send(header(Sign(testSecret, []byte("half body")), 9), "half")
	eventually(t, "half a body read", func() bool { return h.buffers.inFlight.Load() == 2*4<<10 })
	halfHeader := h.dial().send("POST /api/webhook HTTP/1.1\r\n")
	eventually(t, "half a header read", func() bool { return h.active() == 3 })

	done := h.shutdown(t.Context())
	idle.wantClosed()
	fresh.wantClosed()
	if _, err := net.Dial("tcp", h.Addr().String()); err == nil {
		t.Error("still accepting")
	}

	// What comes after the shutdown began is refused, not dropped.
	late := signed("late")
	halfHeader.send(late[len("POST /api/webhook HTTP/1.1\r\n"):])
	if a := halfHeader.want(503); !a.Close {
		t.Error("a refused connection is kept")
	}
	// A body on its way is still taken.
	halfBody.send(" body")
	<-h.shelf.enter
	select {
	case err := <-done:
		t.Fatalf("Shutdown returned %v before the requests were answered", err)
	default:
	}
	close(h.shelf.leave)
	for _, c := range []*client{taken, halfBody} {
		if a := c.want(200); !a.Close {
			t.Error("the connection is kept")
		}
		c.wantEnd()
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if kept := h.shelf.kept(); len(kept) != 2 {
		t.Errorf("%d webhooks kept, want 2", len(kept))
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

// wantClosed expects that the connection ends without an answer.
func (c *client) wantClosed() {
	c.t.Helper()
	if _, err := c.r.ReadByte(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("an idle connection: %v, want its end", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	h := start(t, nil)
	slow := h.dial().send(header(Sign(testSecret, nil), 100), "x")
	eventually(t, "the body begun", func() bool { return h.buffers.inFlight.Load() > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want %v", err, context.DeadlineExceeded)
	}
	slow.wantClosed()
}

// A request between two states of its connection is either answered or finds
// the connection closed; Shutdown never waits for an idle one.
func TestShutdownUnderLoad(t *testing.T) {
	for range 20 {
		h := start(t, nil)
		senders := make(chan int, 8)
		for range cap(senders) {
			c := h.dial()
			go func() {
				acked := 0
				defer func() { senders <- acked }()
				for {
					if _, err := io.WriteString(c, signed("x")); err != nil {
						return
					}
					var response fasthttp.Response
					if err := response.Read(c.r); err != nil || response.StatusCode() != 200 {
						return
					}
					acked++
				}
			}()
		}
		eventually(t, "some load", func() bool { return h.counted(200) > 100 })
		if err := <-h.shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		acked := 0
		for range cap(senders) {
			acked += <-senders
		}
		if kept := len(h.shelf.kept()); acked > kept || kept > acked+cap(senders) {
			t.Errorf("%d acked, %d kept", acked, kept)
		}
	}
}

// A request that is answered while all is closing leaves no idle connection
// behind, even if its answer was made just before.
func TestIdleWhileClosing(t *testing.T) {
	cs := newConnections(1)
	near, far := net.Pipe()
	defer near.Close()
	c := cs.add(far)
	cs.changed(c, fasthttp.StateActive)
	cs.close()
	if err := near.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go cs.changed(c, fasthttp.StateIdle)
	if _, err := near.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the idle connection: %v, want %v", err, io.EOF)
	}
	cs.remove(c)
	<-cs.empty
	late, _ := net.Pipe()
	if cs.add(late) != nil {
		t.Error("a connection was added after the end")
	}
}
