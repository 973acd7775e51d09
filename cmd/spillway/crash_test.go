package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/dispatch/event"
)

// full reports whether the long form of the tests is wanted.
func full() bool { return os.Getenv("SPILLWAY_TEST_FULL") != "" }

// crashLoad makes webhooks with statuses and replies, a few updates each.
type crashLoad struct {
	seed uint64
	next atomic.Int64
}

// webhook gives the next webhook and the uids of its events.
func (c *crashLoad) webhook() (body []byte, uids []string) {
	n := c.next.Add(1)
	random := rand.New(rand.NewPCG(c.seed, uint64(n)))
	wamid := fmt.Sprintf("wamid.%016x%016x==", c.seed, n)
	customer := fmt.Sprintf("1555%07d", random.IntN(500))
	if random.IntN(4) == 0 {
		uids = append(uids, event.UID(event.MessageNew, wamid).String())
		return messageWebhook(wamid, customer, fmt.Sprintf("reply %d", n)), uids
	}
	var statuses []string
	for _, status := range []string{"sent", "delivered", "read"}[:1+random.IntN(3)] {
		uids = append(uids, event.UID(event.MessageStatus, event.StatusIdentity(wamid, status, "")).String())
		statuses = append(statuses, status)
	}
	return statusWebhook(wamid, customer, statuses...), uids
}

func messageWebhook(wamid, from, text string) []byte {
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000001","phone_number_id":"106"},"contacts":[{"profile":{"name":"A Customer"},"wa_id":%q}],"messages":[{"from":%q,"id":%q,"timestamp":"%d","type":"text","text":{"body":%q}}]}}]}]}`,
		from, from, wamid, time.Now().Unix(), text)
}

func statusWebhook(wamid, to string, statuses ...string) []byte {
	b := []byte(`{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000001","phone_number_id":"106"},"statuses":[`)
	for i, status := range statuses {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id":%q,"status":%q,"timestamp":"%d","recipient_id":%q,"pricing":{"billable":true,"pricing_model":"PMP","category":"marketing"}}`,
			wamid, status, time.Now().Unix(), to)
	}
	return append(b, `]}}]}]}`...)
}

// ledger is what the sender knows: what was acked.
type ledger struct {
	mu    sync.Mutex
	acked map[string]bool // by uid
}

// TestKillNine kills the real program with -9 in the middle of a load, again
// and again, while senders repeat what was not acked and some of what was. In
// the end every acked event is there, and none twice.
func TestKillNine(t *testing.T) {
	kills, between := 4, 700*time.Millisecond
	if full() {
		kills, between = 20, 1500*time.Millisecond
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	load := &crashLoad{seed: seed}
	book := &ledger{acked: make(map[string]bool)}
	data := t.TempDir()

	var target atomic.Pointer[process]
	target.Store(start(t, data))
	ctx, cancel := context.WithCancel(context.Background())
	var senders sync.WaitGroup
	for i := range 16 {
		senders.Go(func() { send(ctx, load, book, &target, rand.New(rand.NewPCG(seed, uint64(1<<40+i)))) })
	}
	for range kills {
		time.Sleep(between)
		target.Load().kill()
		target.Store(start(t, data))
	}
	time.Sleep(between)
	cancel()
	senders.Wait()

	acked := len(book.acked)
	events := target.Load().gather(acked, caused)
	seen, lost, doubled := compare(t, book.acked, events)
	births := make(map[string]int)
	for _, e := range events {
		if e.Type == event.ContactNew {
			births[fmt.Sprint(e.Payload["id"])]++
		}
	}
	for id, n := range births {
		if n > 1 {
			t.Errorf("contact %s was new %d times", id, n)
		}
	}
	t.Logf("%d kills, %d events acked, %d seen, %d lost, %d doubled", kills, acked, seen, lost, doubled)
	if lost > 0 || doubled > 0 || acked < 1000 {
		t.Errorf("lost %d, doubled %d of %d acked", lost, doubled, acked)
	}
}

// compare counts the events by uid, those acked that are not among them, and
// those that came more than once.
func compare(t *testing.T, acked map[string]bool, events []received) (seen, lost, doubled int) {
	t.Helper()
	times := make(map[string]int)
	for _, e := range events {
		times[e.UID]++
	}
	for uid := range acked {
		if times[uid] == 0 {
			lost++
		}
	}
	for uid, n := range times {
		if n > 1 {
			doubled++
			t.Logf("%s came %d times", uid, n)
		}
	}
	return len(times), lost, doubled
}

// send posts webhooks until ctx ends: what is not acked again until it is, and
// some of what is acked once more, as Meta does.
func send(ctx context.Context, load *crashLoad, book *ledger, target *atomic.Pointer[process], random *rand.Rand) {
	for ctx.Err() == nil {
		body, uids := load.webhook()
		for target.Load().post(body) != 200 {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		book.mu.Lock()
		for _, uid := range uids {
			book.acked[uid] = true
		}
		book.mu.Unlock()
		if random.IntN(10) == 0 {
			target.Load().post(body)
		}
	}
}
