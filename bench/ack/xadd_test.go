package ack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store/redis/localredis"
)

func startRedis(t *testing.T) *localredis.Server {
	t.Helper()
	server, err := localredis.Start(context.Background(), localredis.Options{AppendOnly: true, Fsync: "always"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

func newTestStream(t *testing.T, server *localredis.Server, reg prometheus.Registerer) *Stream {
	t.Helper()
	s, err := NewStream(server.Addr(), reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// bodiesOf reads a stream back, and gives how often each body is in it.
func bodiesOf(t *testing.T, server *localredis.Server) map[string]int {
	t.Helper()
	client := server.Client()
	defer client.Close()
	bodies := make(map[string]int)
	if err := ReadStream(context.Background(), client, func(body []byte) { bodies[string(body)]++ }); err != nil {
		t.Fatal(err)
	}
	return bodies
}

// TestStream: what many append at once survives a killed server, each once.
func TestStream(t *testing.T) {
	const writers, each = 32, 40 // more than are read at a time
	server := startRedis(t)
	reg := prometheus.NewRegistry()
	s := newTestStream(t, server, reg)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := s.Append(webhook(t, fmt.Sprintf("webhook %d of %d", i, w))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	server.Kill() // before Close: what is acked is kept
	if err := server.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	bodies := bodiesOf(t, server)
	if len(bodies) != writers*each {
		t.Errorf("%d bodies, want %d", len(bodies), writers*each)
	}
	for body, n := range bodies {
		if n != 1 {
			t.Errorf("%q is there %d times", body, n)
		}
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != batchRecords {
		t.Fatalf("metrics %v, %v", families, err)
	}
	if sum := families[0].GetMetric()[0].GetHistogram().GetSampleSum(); sum != writers*each {
		t.Errorf("%v records in groups", sum)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Append(webhook(t, "late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append to a closed stream: %v", err)
	}
}

// TestStreamRefused: no webhook is acked that Redis took but did not add.
func TestStreamRefused(t *testing.T) {
	server := startRedis(t)
	client := server.Client()
	defer client.Close()
	if err := client.Set(context.Background(), streamKey, "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s := newTestStream(t, server, prometheus.NewRegistry())
	if err := s.Append(webhook(t, "refused")); err == nil {
		t.Error("acked")
	}
}

// TestStreamBounds: entries beyond the bounds go, by their number or their bytes.
func TestStreamBounds(t *testing.T) {
	for _, c := range []struct{ size, want int }{
		{0, 1_000_000}, {600, 1_000_000}, {2 << 20, 1024}, {3 << 30, 1},
	} {
		if got := mostEntries(c.size); got != c.want {
			t.Errorf("bodies of %d bytes: %d entries, want %d", c.size, got, c.want)
		}
	}
}
