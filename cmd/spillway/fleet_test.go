package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/dispatch/event"
)

const (
	// fleetSenders of messages, and as many of statuses, post to each receiver, each
	// with so many customers of its own.
	fleetSenders   = 3
	fleetCustomers = 6
	// fleetPace is between two webhooks of a sender.
	fleetPace = 5 * time.Millisecond
	// quietPhone is the number of one message in quietEvery that have statuses.
	quietPhone = "199"
	quietEvery = 30
)

// fleet is receivers over one store, each with a log of its own, under a load of
// which every event is booked. A receiver may be killed and started again: its
// senders repeat a webhook until it is acked, and go on with the next then.
type fleet struct {
	t     testing.TB
	env   []string
	nodes []*node

	stop    context.CancelFunc
	senders sync.WaitGroup
	wamids  atomic.Int64

	mu     sync.Mutex
	posted map[string]posted // by uid
}

// node is a receiver and its folder, over all its runs.
type node struct {
	data    string
	process atomic.Pointer[process]
}

// posted is an event that a webhook causes which was posted, and in the end acked.
type posted struct {
	at    time.Time // before it was posted for the first time
	kind  string
	phone string // empty where a contact's
}

func newFleet(t testing.TB, receivers int, env ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, env: env, posted: make(map[string]posted), stop: func() {}}
	for range receivers {
		n := &node{data: t.TempDir()}
		f.nodes = append(f.nodes, n)
		f.start(n)
	}
	return f
}

func (f *fleet) start(n *node) {
	f.t.Helper()
	n.process.Store(start(f.t, n.data, f.env...))
}

// kill ends a receiver with -9 and starts it again after a moment.
func (f *fleet) kill(n *node, away time.Duration) {
	f.t.Helper()
	n.process.Load().kill()
	time.Sleep(away)
	f.start(n)
}

// restart ends a receiver in an orderly way and starts it again.
func (f *fleet) restart(n *node) {
	f.t.Helper()
	p := n.process.Load()
	if code := p.terminate(shutdownTimeout + 5*time.Second); code != exitOK {
		f.t.Errorf("exit code %d:\n%s", code, p.logText())
	}
	f.start(n)
}

// any is a receiver, which may just be away.
func (f *fleet) any() *process { return f.nodes[rand.IntN(len(f.nodes))].process.Load() }

// load begins to post, until settle.
func (f *fleet) load(pace time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.t.Cleanup(func() { stop(); f.senders.Wait() })
	for i, n := range f.nodes {
		for s := range fleetSenders {
			var customers []*rigCustomer
			for c := range fleetCustomers {
				customers = append(customers, &rigCustomer{index: (i*fleetSenders+s)*fleetCustomers + c})
			}
			f.senders.Go(func() { f.sendMessages(ctx, n, customers, pace) })
			f.senders.Go(func() { f.sendStatuses(ctx, n, pace) })
		}
	}
}

// phoneOf is the number, 106 or 107, that a customer writes to.
func phoneOf(customer int) string { return fmt.Sprint(106 + customer%2) }

func (f *fleet) sendMessages(ctx context.Context, to *node, customers []*rigCustomer, pace time.Duration) {
	for ctx.Err() == nil {
		c := customers[rand.IntN(len(customers))]
		body, uids := c.webhook()
		phone := phoneOf(c.index)
		causes := map[string]posted{uids[0]: {kind: event.MessageNew, phone: phone}}
		for _, birth := range uids[1:] {
			causes[birth] = posted{kind: event.ContactNew}
		}
		f.post(ctx, to, body, phone, causes)
		time.Sleep(pace)
	}
}

// sendStatuses posts the statuses of one message after the other, each in a
// webhook of its own.
func (f *fleet) sendStatuses(ctx context.Context, to *node, pace time.Duration) {
	for ctx.Err() == nil {
		serial := f.wamids.Add(1)
		wamid, phone := fmt.Sprintf("wamid.S.%d", serial), phoneOf(int(serial))
		if serial%quietEvery == 0 {
			phone = quietPhone
		}
		for _, status := range soakStatuses {
			uid := event.UID(event.MessageStatus, event.StatusIdentity(wamid, status, "")).String()
			body := statusWebhook(wamid, "15550009999", status)
			f.post(ctx, to, body, phone, map[string]posted{uid: {kind: event.MessageStatus, phone: phone}})
			time.Sleep(pace)
		}
	}
}

// post books a webhook and posts it until it is acked, now and then once more.
func (f *fleet) post(ctx context.Context, to *node, body []byte, phone string, causes map[string]posted) {
	body = bytes.ReplaceAll(body, []byte(`"phone_number_id":"106"`), fmt.Appendf(nil, `"phone_number_id":%q`, phone))
	f.mu.Lock()
	for uid, p := range causes {
		p.at = time.Now()
		f.posted[uid] = p
	}
	f.mu.Unlock()
	deadline := time.Now().Add(time.Minute)
	for to.process.Load().post(body) != http.StatusOK {
		if time.Now().After(deadline) {
			f.t.Errorf("not acked within a minute: %s", body)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	if rand.IntN(20) == 0 && ctx.Err() == nil {
		to.process.Load().post(body)
	}
}

// settle ends the load and waits until all of it is dispatched.
func (f *fleet) settle() {
	f.t.Helper()
	f.stop()
	f.senders.Wait()
	for _, n := range f.nodes {
		p := n.process.Load()
		p.eventually(rigPatience, "all is dispatched", p.idle)
	}
}

// count is how many events were posted.
func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.posted)
}
