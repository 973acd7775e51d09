package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spillway/bench/load"
	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

// streamLengths is how many events the streams hold.
func (r *rig) streamLengths() (sum int64) {
	r.t.Helper()
	for partition := range rigPartitions {
		n, err := r.client.XLen(context.Background(), rigStream(partition)).Result()
		if err != nil {
			r.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// TestRedisAway sends a receiver a campaign at a steady rate while Redis is there,
// and then while it is not: every webhook is acked, as fast as before, and waits
// in the log.
func TestRedisAway(t *testing.T) {
	rate, before, away := 500, 2*time.Second, 5*time.Second
	if full() {
		rate, before, away = 3300, 20*time.Second, time.Minute
	}
	server := startRedis(t, localredis.Options{AppendOnly: true, Fsync: "everysec"})
	r := newRig(t, single(server), 1)
	p := r.receivers[0]
	campaign, err := load.NewCampaign(600, testAppSecret, p.public)
	if err != nil {
		t.Fatal(err)
	}
	send := func(what string, d time.Duration) *load.Result {
		result := load.Open(t.Context(), campaign, p.public, load.OpenConfig{Rate: rate, Connections: 128, Duration: d})
		t.Logf("%s: %s; %d MiB resident", what, result, p.residentBytes()>>20)
		if err := result.Clean(); err != nil {
			t.Fatal(err)
		}
		return result
	}
	there := send("with redis", before)
	p.eventually(rigPatience, "all is dispatched", p.idle)

	server.Kill()
	without := send("without", away)
	lag := p.number(`spillway_dispatch_lag_seconds{lane="bulk"}`)
	if lag < away.Seconds()/2 {
		t.Errorf("%v s behind after %s", lag, away)
	}
	// Generously: other work on the machine costs some milliseconds now and then.
	if most := 5*there.Quantile(99) + 50*time.Millisecond; without.Quantile(99) > most {
		t.Errorf("p99 of the acks %s with redis, %s without", there.Quantile(99), without.Quantile(99))
	}
	if resident := p.residentBytes(); resident > 512<<20 {
		t.Errorf("%d MiB resident", resident>>20)
	}

	restart(t, server)
	began := time.Now()
	p.eventually(2*away+rigPatience, "all is dispatched", p.idle)
	acked := there.Answers[http.StatusOK] + without.Answers[http.StatusOK]
	t.Logf("%.1f s behind at most, level again %s after redis was back", lag, time.Since(began).Round(time.Millisecond))
	if got := r.streamLengths(); got != acked*int64(campaign.Statuses()) {
		t.Errorf("%d events in the streams, of %d webhooks of %d statuses", got, acked, campaign.Statuses())
	}
}

// TestRedisExpressFirst: when Redis is back after a campaign, the message of one
// customer that came last does not wait for the statuses that came before.
func TestRedisExpressFirst(t *testing.T) {
	backlog := 20_000
	if full() {
		backlog = 150_000
	}
	server := startRedis(t, localredis.Options{AppendOnly: true, Fsync: "everysec"})
	r := newRig(t, single(server), 1)
	p := r.receivers[0]
	server.Kill()
	campaign, err := load.NewCampaign(load.MinBody, testAppSecret, p.public)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for sent < backlog {
		sent += int(acksOf(t, p, campaign, 64, time.Second).Answers[http.StatusOK])
	}
	body, uids := (&rigCustomer{index: 1}).webhook()
	if status := p.post(body); status != http.StatusOK {
		t.Fatalf("answer %d", status)
	}
	restart(t, server)
	p.eventually(2*time.Minute, "all is dispatched", func() error {
		if got := r.streamLengths(); got < int64(sent)+2 {
			return fmt.Errorf("%d events in the streams of %d", got, sent+2)
		}
		return nil
	})
	first, message, last := r.times(uids[0])
	t.Logf("of %d statuses the last %s after the first, the message %s after it", sent, last.Sub(first), message.Sub(first))
	if message.Sub(first) > time.Second {
		t.Errorf("the message came %s after the first event", message.Sub(first))
	}
}

// times are when the first event was appended, the one with that uid, and the
// last, by the server's clock.
func (r *rig) times(uid string) (first, of, last time.Time) {
	r.t.Helper()
	var all []time.Time
	for partition := range rigPartitions {
		entries, err := r.client.XRange(context.Background(), rigStream(partition), "-", "+").Result()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, entry := range entries {
			text, _, _ := strings.Cut(entry.ID, "-")
			ms, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, time.UnixMilli(ms))
			if entry.Values["uid"] == uid && entry.Values["type"] == event.MessageNew {
				of = all[len(all)-1]
			}
		}
	}
	if of.IsZero() {
		r.t.Fatal("the message is not there")
	}
	return slices.MinFunc(all, time.Time.Compare), of, slices.MaxFunc(all, time.Time.Compare)
}
