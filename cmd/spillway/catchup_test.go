package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/store/redis/localredis"
	"spillway/dispatch/stream"
)

// bulk is how many statuses a webhook of the past has.
const bulk = 100

// past is a receiver with many events, numbered from 0.
type past struct {
	t     testing.TB
	p     *process
	next  atomic.Int64 // webhooks
	acked atomic.Int64 // events
	// filled is how many there were when fill returned.
	filled int64
}

// post posts the next webhook, of bulk statuses.
func (a *past) post() {
	first := (a.next.Add(1) - 1) * bulk
	b := []byte(`{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000001","phone_number_id":"106"},"statuses":[`)
	now := time.Now().Unix()
	for n := first; n < first+bulk; n++ {
		if n > first {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id":"wamid.P.%d","status":"sent","timestamp":"%d","recipient_id":"1555%07d","pricing":{"billable":true,"pricing_model":"PMP","category":"marketing"}}`, n, now, n%500)
	}
	if status := a.p.post(append(b, `]}}]}]}`...)); status != http.StatusOK {
		a.t.Errorf("answer %d", status)
		return
	}
	a.acked.Add(bulk)
}

// fill posts until there are so many events, and waits until they are in the store.
func (a *past) fill(events int) {
	a.t.Helper()
	began := time.Now()
	var posts sync.WaitGroup
	for range 8 {
		posts.Go(func() {
			for a.next.Load() < int64(events/bulk) && !a.t.Failed() {
				a.post()
			}
		})
	}
	posts.Wait()
	a.p.eventually(2*time.Minute, "all is dispatched", a.p.idle)
	a.filled = a.acked.Load()
	a.t.Logf("%d events made in %s", a.filled, time.Since(began).Round(time.Millisecond))
}

// climber is a socket that began at the oldest event.
type climber struct {
	seen    bitmap
	events  int64
	level   time.Duration // until it was level; 0 before
	at      int64         // events by then
	longest time.Duration // between two messages
}

// climb reads until enough is true, which is asked after each message.
func (a *past) climb(enough func(*climber) bool) *climber {
	c := &climber{}
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+a.p.public+"/ws?since=0&token="+testToken(a.t), nil)
	if err != nil {
		a.t.Error(err)
		return c
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	for last := began; !enough(c); {
		_ = conn.SetReadDeadline(time.Now().Add(rigPatience))
		_, data, err := conn.ReadMessage()
		if err != nil {
			a.t.Errorf("after %d events: %v", c.events, err)
			return c
		}
		now := time.Now()
		c.longest, last = max(c.longest, now.Sub(last)), now
		_, rest, found := bytes.Cut(data, []byte(`"wamid":"wamid.P.`))
		if !found {
			// A position before all of the past is the one that comes every 30 s.
			if c.level == 0 && c.events >= a.filled {
				c.level, c.at = now.Sub(began), c.events
			}
			continue
		}
		digits, _, _ := bytes.Cut(rest, []byte(`"`))
		n, err := strconv.ParseUint(string(digits), 10, 64)
		if err != nil || !c.seen.add(n) {
			a.t.Errorf("event %s is no number or came twice (%v)", digits, err)
			return c
		}
		c.events++
	}
	return c
}

// memory watches what the receiver has resident until the function that is returned
// is called, which gives the most of it.
func (p *process) memory() func() int {
	ctx, cancel := context.WithCancel(context.Background())
	most := make(chan int)
	go func() {
		largest := 0
		for ctx.Err() == nil {
			largest = max(largest, p.residentBytes())
			time.Sleep(20 * time.Millisecond)
		}
		most <- largest
	}()
	return func() int { cancel(); return <-most }
}

// testCatchUp has sockets read all of a long past while the present goes on. They
// hold little of it in memory, and then are live without a gap or a stall.
func testCatchUp(t *testing.T, env ...string) {
	events, each := 50_000, int64(10_000)
	if full() {
		events, each = 1_000_000, 100_000
	}
	env = append(env, "SPILLWAY_STREAM_RETAIN=100000000", "SPILLWAY_STREAM_RETAIN_BYTES=20GiB")
	a := &past{t: t, p: start(t, t.TempDir(), env...)}
	a.fill(events)
	before := a.p.residentBytes()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var present sync.WaitGroup
	present.Go(func() {
		tick := time.NewTicker(time.Second * bulk / 1000)
		defer tick.Stop()
		for ctx.Err() == nil {
			a.post()
			<-tick.C
		}
	})
	ends := a.p.memory()
	began := time.Now()
	c := a.climb(func(c *climber) bool {
		if c.level == 0 {
			return false
		}
		if time.Since(began) > c.level+2*time.Second {
			cancel() // nothing more is posted, and what was is still to come
		}
		if ctx.Err() == nil {
			return false
		}
		present.Wait()
		return c.events >= a.acked.Load()
	})
	one := ends()
	if int64(c.events) != a.acked.Load() {
		t.Errorf("%d events of %d", c.events, a.acked.Load())
	}
	t.Logf("1 socket: level after %d events and %s, %.0f events/s; the longest pause %s; %d MiB resident before, %d at most",
		c.at, c.level.Round(time.Millisecond), float64(c.at)/c.level.Seconds(), c.longest.Round(time.Millisecond), before>>20, one>>20)
	if c.longest > 10*time.Second {
		t.Errorf("a pause of %s", c.longest)
	}

	ends = a.p.memory()
	began = time.Now()
	var climbers sync.WaitGroup
	for range 20 {
		climbers.Go(func() { a.climb(func(c *climber) bool { return c.events >= each }) })
	}
	climbers.Wait()
	twenty := ends()
	t.Logf("20 sockets: %.0f events/s in all; %d MiB resident at most", float64(20*each)/time.Since(began).Seconds(), twenty>>20)
	// What a socket reads of the store may be there four times: as the store gave
	// it, as it is kept, and both once more as garbage. The rest is the collector's,
	// and the store's cache and write buffers.
	memory := stream.DefaultConfig().CatchUpBytes
	if bound := before + 4*memory + 96<<20; one > bound {
		t.Errorf("%d MiB resident with one socket, %d before", one>>20, before>>20)
	}
	if bound := max(before, one) + 20*4*memory + 64<<20; twenty > bound {
		t.Errorf("%d MiB resident with 20 sockets, %d before", twenty>>20, max(before, one)>>20)
	}
}

func TestCatchUpEmbedded(t *testing.T) {
	t.Parallel()
	testCatchUp(t)
}

func TestCatchUpRedis(t *testing.T) {
	t.Parallel()
	testCatchUp(t, single(startRedis(t, localredis.Options{})).env()...)
}
