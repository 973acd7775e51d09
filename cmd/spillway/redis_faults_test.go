package main

import (
	"context"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// rounds is how often a fault comes: few, and many in the long form.
func rounds(few, many int) int {
	if full() {
		return many
	}
	return few
}

// rewinds is how often any partition of any receiver was found to have gone back.
func (r *rig) rewinds() (sum float64) {
	r.t.Helper()
	for _, p := range r.receivers {
		sum += p.number(`spillway_dispatch_rewinds_total{lane="express"}`) + p.number(`spillway_dispatch_rewinds_total{lane="bulk"}`)
	}
	return sum
}

// restart starts a server again that was killed.
func restart(t *testing.T, server *localredis.Server) {
	t.Helper()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRedisKilled kills Redis with -9 under load, again and again. A server with
// an append-only file has all of it again, if it syncs always: with everysec it
// answers before it has written while a sync of a busy disk is under way.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{AppendOnly: true, Fsync: "always"})
	r := newRig(t, single(server), 2)
	r.load()
	for range rounds(2, 20) {
		time.Sleep(700 * time.Millisecond)
		server.Kill()
		time.Sleep(300 * time.Millisecond)
		restart(t, server)
	}
	time.Sleep(700 * time.Millisecond)
	r.verify()
	if n := r.rewinds(); n > 0 {
		t.Errorf("%v rewinds of a server that lost nothing", n)
	}
}

// TestRedisForgetsScripts empties the script cache all the time.
func TestRedisForgetsScripts(t *testing.T) {
	t.Parallel()
	testRedisHarassed(t, 20*time.Millisecond, "script", "flush")
}

// TestRedisKillsClients ends all connections all the time.
func TestRedisKillsClients(t *testing.T) {
	t.Parallel()
	testRedisHarassed(t, 100*time.Millisecond, "client", "kill", "type", "normal")
}

// testRedisHarassed sends Redis a command again and again under load.
func testRedisHarassed(t *testing.T, pause time.Duration, command ...any) {
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.load()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds(2, 30))*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if err := r.client.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(pause)
	}
	r.verify()
}

// TestRedisStalls stops Redis as it is, and lets it go on: no connection breaks.
func TestRedisStalls(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.load()
	for i := range rounds(1, 10) {
		time.Sleep(700 * time.Millisecond)
		if err := server.Pause(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(2+i%3) * time.Second)
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(700 * time.Millisecond)
	r.verify()
}

// TestRedisNetwork disturbs the network before Redis: replies are lost after the
// script ran, connections are reset, everything is late, nothing comes through.
func TestRedisNetwork(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	proxy, err := localredis.StartProxy(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, redisAt{addrs: []string{proxy.Addr()}}, 2)
	r.client = single(server).client(t) // not through the proxy
	r.load()
	for range rounds(1, 10) {
		for range 50 {
			time.Sleep(20 * time.Millisecond)
			proxy.LoseReply()
		}
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			proxy.Reset()
		}
		proxy.Delay(100 * time.Millisecond)
		time.Sleep(time.Second)
		proxy.Delay(time.Hour) // silence
		time.Sleep(time.Second)
		proxy.Delay(0)
		proxy.Reset()
		time.Sleep(300 * time.Millisecond)
		proxy.Cut()
		time.Sleep(time.Second)
		proxy.Restore()
	}
	time.Sleep(500 * time.Millisecond)
	r.verify()
	for _, p := range r.receivers {
		if p.number(`spillway_store_errors_total{op="apply"}`) == 0 {
			t.Error("no batch failed")
		}
	}
}
