package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// TestRedisAwayIsTold: Redis is stopped, and whoever is on call is told of it, and
// told when it is back.
func TestRedisAwayIsTold(t *testing.T) {
	if !full() {
		t.Skip("in make test-full: it needs Prometheus and Alertmanager")
	}
	const name = "SpillwayRedisAway"
	redis := startRedis(t, localredis.Options{})
	p := start(t, t.TempDir(), single(redis).env()...)
	alertmanager := startAlertmanager(t)
	prometheus := startPrometheus(t, alertmanager, []*process{p})
	prometheus.until(time.Minute, `spillway_ready == 1`)
	redis.Kill()
	stopped := time.Now()
	p.eventually(4*time.Minute, "Alertmanager is told", func() error {
		description, told := alertmanager.alerts()[name]
		switch {
		case !told:
			return fmt.Errorf("it has %v", alertmanager.alerts())
		case !strings.ContainsAny(description, "0123456789"):
			t.Fatalf("no value in %q", description)
		}
		return nil
	})
	t.Logf("told %s after Redis was stopped", time.Since(stopped).Round(time.Second))
	if err := redis.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.eventually(4*time.Minute, "the alert ends", func() error {
		if values, err := prometheus.query(fmt.Sprintf("ALERTS{alertname=%q}", name)); err != nil || len(values) > 0 {
			return fmt.Errorf("%v %w", values, err)
		}
		return nil
	})
}
