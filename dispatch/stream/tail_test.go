package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"spillway/dispatch/store"
	"spillway/dispatch/stream/client"
)

// TestTailOverRestarts follows with the real client while the server is replaced
// again and again: nothing is missed, and nothing given out twice.
func TestTailOverRestarts(t *testing.T) {
	feed := newMemoryFeed(4)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var current atomic.Pointer[Server]
	begin := func() {
		cfg := DefaultConfig()
		cfg.Secret = secret
		s, err := New(cfg, feed, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		current.Store(s)
	}
	end := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := current.Load().Close(ctx); err != nil {
			t.Error(err)
		}
	}
	begin()
	front := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) { current.Load().Handler(ctx) },
		Logger:  discard{}, KeepHijackedConns: true, MaxIdleWorkerDuration: 20 * time.Millisecond,
	}
	served := make(chan error, 1)
	go func() { served <- front.Serve(listener) }()
	defer func() { end(); _ = front.Shutdown(); <-served }()

	const total = 1200
	token, _ := Mint(secret, claims(nil))
	live := make(chan struct{}, 16)
	finished := errors.New("has all")
	seen := make(map[uuid.UUID]bool)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Tail(t.Context(), client.Options{
			URL: "http://" + listener.Addr().String(), Token: token, Since: "0",
			OnState: func(s client.State) {
				if s.Connected {
					live <- struct{}{}
				}
			},
		}, func(e client.Event) error {
			if seen[e.UID] {
				t.Error("an event was given out twice")
			}
			if seen[e.UID] = true; len(seen) == total {
				return finished
			}
			return nil
		})
	}()
	var all []store.Entry
	for range 4 {
		<-live
		for range 10 {
			all = append(all, feed.fill(20)...)
			runtime.Gosched()
		}
		end()
		all = append(all, feed.fill(100)...)
		begin()
	}
	if err := <-ended; !errors.Is(err, finished) {
		t.Fatalf("ended with %v", err)
	}
	for _, e := range all {
		if !seen[e.UID] {
			t.Fatal("an event is missing")
		}
	}
}

// BenchmarkCatchUp reads 100,000 events of the past over TCP.
func BenchmarkCatchUp(b *testing.B) {
	const events = 100_000
	feed := newMemoryFeed(32)
	feed.fill(events)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Secret = secret
	s, err := New(cfg, feed, slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	front := &fasthttp.Server{Handler: s.Handler, Logger: discard{}, KeepHijackedConns: true, MaxIdleWorkerDuration: 20 * time.Millisecond}
	served := make(chan error, 1)
	go func() { served <- front.Serve(listener) }()
	defer func() { _ = s.Close(context.Background()); _ = front.Shutdown(); <-served }()
	token, _ := Mint(secret, claims(nil))
	finished := errors.New("has all")
	for b.Loop() {
		got := 0
		_ = client.Tail(context.Background(), client.Options{
			URL: "http://" + listener.Addr().String(), Token: token, Since: "0",
		}, func(client.Event) error {
			if got++; got == events {
				return finished
			}
			return nil
		})
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
