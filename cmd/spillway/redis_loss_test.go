package main

import (
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// TestRedisLosesSuffix kills a Redis that keeps what it had when it was last told
// to save: what came after that is applied again.
func TestRedisLosesSuffix(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.load()
	for range rounds(2, 20) {
		time.Sleep(500 * time.Millisecond)
		if err := r.client.Save(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(700 * time.Millisecond)
		server.Kill()
		restart(t, server)
	}
	time.Sleep(500 * time.Millisecond)
	r.verify()
	if r.rewinds() == 0 {
		t.Error("no rewinds")
	}
}

// TestRedisEmptied restarts Redis without its data: it is filled from the logs.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.load()
	for range rounds(1, 10) {
		time.Sleep(time.Second)
		server.Kill()
		if err := server.Wipe(); err != nil {
			t.Fatal(err)
		}
		restart(t, server)
	}
	time.Sleep(time.Second)
	r.verify()
	if r.rewinds() == 0 {
		t.Error("no rewinds")
	}
}

// TestRedisEmptiedIdle empties Redis while no webhook comes: that is noticed, and
// it is filled again.
func TestRedisEmptiedIdle(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.load()
	time.Sleep(time.Second)
	r.verify()
	if err := r.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.verify()
}
