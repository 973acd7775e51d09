package main

import (
	"bufio"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/store/redis/localredis"
)

// listen opens sockets that only read, until the test ends; each is level.
func (p *process) listen(n int) {
	p.t.Helper()
	url := "ws://" + p.public + "/ws?token=" + testToken(p.t)
	for range n {
		conn, _, err := websocket.DefaultDialer.Dial(url, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _ = conn.Close() })
		if _, _, err := conn.ReadMessage(); err != nil {
			p.t.Fatal(err)
		}
		go func() {
			for {
				if _, _, err := conn.NextReader(); err != nil {
					return
				}
			}
		}()
	}
}

// commands is how often the server was asked what, and by how many clients.
func (r *rig) commands() (calls map[string]int, clients int) {
	r.t.Helper()
	info, err := r.client.Info(r.t.Context(), "commandstats", "clients").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	calls = make(map[string]int)
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var n int
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			if _, err := fmt.Sscanf(value, "calls=%d", &n); err != nil {
				r.t.Fatalf("%s: %v", lines.Text(), err)
			}
			calls[command] = n
		} else if name == "connected_clients" {
			_, _ = fmt.Sscan(value, &clients)
		}
	}
	return calls, clients
}

// TestFollowsOnce: a receiver asks Redis as often with 200 subscribers as with one.
func TestFollowsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, single(startRedis(t, localredis.Options{})), 1)
	p := r.receivers[0]
	// measure gives the calls of each command in a second.
	measure := func() (rates map[string]float64, clients int) {
		before, _ := r.commands()
		began := time.Now()
		for n := range 100 {
			if status := p.post(statusWebhook(fmt.Sprintf("wamid.%d.%d", began.UnixNano(), n), "15550009999", "sent")); status != 200 {
				t.Fatalf("answer %d", status)
			}
			time.Sleep(20 * time.Millisecond)
		}
		after, clients := r.commands()
		took := time.Since(began).Seconds()
		rates = make(map[string]float64)
		for command, n := range after {
			rates[command] = math.Round(float64(n-before[command]) / took)
		}
		return rates, clients
	}
	p.listen(1)
	one, clientsOfOne := measure()
	p.listen(199)
	many, clients := measure()
	t.Logf("a second with 1: %v, %d clients; with 200: %v, %d clients", one, clientsOfOne, many, clients)
	for command, rate := range many {
		// Two hundred that read for themselves would be far more than twice as many.
		if rate > 1.5*one[command]+20 {
			t.Errorf("%s: %.0f calls a second with 1, %.0f with 200", command, one[command], rate)
		}
	}
	if one["time"] < 10 || many["time"] < 10 {
		t.Errorf("the streams were not followed: %v, %v", one, many)
	}
	if clients > clientsOfOne+8 {
		t.Errorf("%d clients with 1, %d with 200", clientsOfOne, clients)
	}
}
