package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/stream"
)

// crowd is many live sockets, and the latency of each event to each of them.
type crowd struct {
	mu      sync.Mutex
	posted  map[string]time.Time // by wamid
	late    []time.Duration
	got     []int // by socket
	reading sync.WaitGroup
}

// join opens a socket that sees messages alone and reads until ctx ends.
func (c *crowd) join(ctx context.Context, p *process, token string, index int) {
	p.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+p.public+"/ws?events=message:new&token="+token, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); err != nil {
		p.t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.reading.Go(func() {
		defer stop()
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			c.hear(index, data)
		}
	})
}

// hear books an event; its text is not decoded, for there are many.
func (c *crowd) hear(index int, data []byte) {
	now := time.Now()
	_, rest, found := bytes.Cut(data, []byte(`"wamid":"`))
	if !found {
		return // a position
	}
	wamid, _, _ := bytes.Cut(rest, []byte(`"`))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[index]++
	c.late = append(c.late, now.Sub(c.posted[string(wamid)]))
}

// post sends messages at a steady rate, and gives the 99th percentile of the time
// from before a post until a socket has it.
func (c *crowd) post(p *process, name string, rate int, d time.Duration) time.Duration {
	p.t.Helper()
	c.mu.Lock()
	c.late = c.late[:0]
	clear(c.got)
	c.mu.Unlock()
	total := rate * int(d.Seconds())
	var posts sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := range total {
		wamid := fmt.Sprintf("wamid.%s.%d", name, n)
		body := messageWebhook(wamid, fmt.Sprintf("1555%07d", n%500), "to all")
		c.mu.Lock()
		c.posted[wamid] = time.Now()
		c.mu.Unlock()
		posts.Go(func() {
			if status := p.post(body); status != 200 {
				p.t.Errorf("answer %d", status)
			}
		})
		<-tick.C
	}
	posts.Wait()
	p.eventually(rigPatience, "every socket has every event", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if least, most := slices.Min(c.got), slices.Max(c.got); least != total || most != total {
			return fmt.Errorf("one socket has %d, another %d of %d", least, most, total)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.late)
	return c.late[len(c.late)*99/100]
}

// TestStuckAmongMany: a few that never read change nothing for all others. They
// cost bounded memory, with events of 3 MB too, and are closed in bounded time.
func TestStuckAmongMany(t *testing.T) {
	sockets, rate, d, stuck := 200, 50, 3*time.Second, 5
	if full() {
		sockets, rate, d, stuck = 1000, 20, 10*time.Second, 20
	}
	p := start(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &crowd{posted: make(map[string]time.Time), got: make([]int, sockets)}
	token := testToken(t)
	for i := range sockets {
		c.join(ctx, p, token, i)
	}
	// Large events come in both runs, for all but the crowd, which has filtered them.
	run := func(name string) (p99 time.Duration, most int) {
		largest := make(chan int)
		go func() {
			most := 0
			for n := range 8 {
				if status := p.post(historyWebhook(n+int(time.Now().UnixNano()), 3<<20)); status != 200 {
					t.Errorf("answer %d", status)
				}
				time.Sleep(d / 8)
				most = max(most, p.residentBytes())
			}
			largest <- most
		}()
		p99 = c.post(p, name, rate, d)
		return p99, <-largest
	}
	without, before := run("without")
	p.stuck(stuck, "")
	with, most := run("with")
	t.Logf("%d sockets, %d events/s each: p99 %s without, %s with %d stuck ones; %d MiB resident at most, then %d",
		sockets, rate, without, with, stuck, before>>20, most>>20)
	// Other work on the machine costs some now and then.
	if bound := 5*without + 250*time.Millisecond; with > bound {
		t.Errorf("p99 %s with stuck readers, %s without", with, without)
	}
	// They share what they wait for: a queue is bounded by 8 MiB, whatever their
	// number, and the collector lets garbage be as much again.
	cfg := stream.DefaultConfig()
	if bound := before + 2*int(cfg.QueueBytes) + 96<<20; most > bound {
		t.Errorf("%d MiB resident, %d before the stuck readers", most>>20, before>>20)
	}
	if !full() {
		return
	}
	p.eventually(cfg.WriteTimeout+cfg.BurstGrace+10*time.Second, "the stuck ones are closed as slow", func() error {
		if n := p.number("spillway_stream_slow_closes_total"); n != float64(stuck) {
			return fmt.Errorf("%v are closed as slow", n)
		}
		return nil
	})
	if n := p.number("spillway_stream_sockets"); n != float64(sockets) {
		t.Errorf("%v sockets are left, want %d", n, sockets)
	}
}
