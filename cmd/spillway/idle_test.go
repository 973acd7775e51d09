package main

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"spillway/bench/subscribers"
)

// maxIdleSocket is the memory that the receiver may have resident for a socket that
// is idle, as README says.
const maxIdleSocket = 20 << 10

// TestIdleSockets: thousands of sockets that nothing happens for cost little, and
// no more once each was sent something.
func TestIdleSockets(t *testing.T) {
	sockets := 2000
	if full() {
		sockets = 8000
	}
	if err := subscribers.RaiseFiles(sockets); err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir(), "SPILLWAY_STREAM_SOCKETS_PER_TOKEN=10000")
	before := p.residentBytes()
	pool, err := subscribers.New(subscribers.Options{
		Address: p.public, Path: "/ws?token=" + testToken(t),
		Ready: func(message []byte) bool { return bytes.Contains(message, []byte("stream:position")) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := pool.Open(ctx, sockets); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		each := (p.residentBytes() - before) / sockets
		t.Logf("%s: %.1f KiB resident for each of %d sockets", when, float64(each)/1024, sockets)
		if each > maxIdleSocket {
			t.Errorf("%s: %d bytes resident a socket, want %d at most", when, each, maxIdleSocket)
		}
	}
	check("idle")
	for range 20 {
		p.post(messageWebhook("wamid.idle."+time.Now().String(), "15550001111", "to all"))
	}
	p.eventually(20*time.Second, "all sockets are sent the messages", func() error {
		if n := p.number("spillway_stream_frames_total"); n < float64(20*sockets) {
			return fmt.Errorf("%v frames, want %d", n, 20*sockets)
		}
		return nil
	})
	check("idle again")
}
