package main

import (
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// TestRedisSameWebhooks feeds two receivers the very same webhooks at the same
// time: each has one effect, and each customer one birth.
func TestRedisSameWebhooks(t *testing.T) {
	t.Parallel()
	server := startRedis(t, localredis.Options{})
	r := newRig(t, single(server), 2)
	r.loadSame()
	time.Sleep(time.Duration(rounds(2, 20)) * time.Second)
	r.verify()
	var duplicates float64
	for _, p := range r.receivers {
		fresh := p.number(`spillway_events_total{outcome="fresh",type="message:new"}`)
		if fresh == 0 {
			t.Error("a receiver had no message to itself: they did not run at the same time")
		}
		duplicates += p.number(`spillway_events_total{outcome="duplicate",type="message:new"}`)
	}
	if duplicates == 0 {
		t.Error("no duplicates")
	}
}
