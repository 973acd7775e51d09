package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

const (
	rigPrefix     = "rig"
	rigPartitions = 32
	// rigCustomers write, each to one receiver, and each the next message once the
	// one before it is acked.
	rigCustomers = 50
	// rigSenders of messages, and as many of statuses, post to each receiver.
	rigSenders = 3
	// rigPace is between two webhooks of a sender.
	rigPace = 5 * time.Millisecond
	// rigPatience is how soon all must be well after a fault. A worker that failed
	// often tries again after up to 5 s.
	rigPatience = 45 * time.Second
)

// redisAt is where a Redis is, as the config says it.
type redisAt struct {
	addrs            []string
	master, password string
}

func (at redisAt) env() []string {
	return []string{
		"SPILLWAY_REDIS_ADDRS=" + strings.Join(at.addrs, ","), "SPILLWAY_REDIS_MASTER=" + at.master,
		"SPILLWAY_REDIS_PASSWORD=" + at.password, "SPILLWAY_REDIS_PREFIX=" + rigPrefix,
		fmt.Sprintf("SPILLWAY_REDIS_PARTITIONS=%d", rigPartitions), "SPILLWAY_STREAM_RETAIN=100000000",
	}
}

// client is a plain client, which knows nothing of ours but the names of keys.
func (at redisAt) client(t testing.TB) goredis.UniversalClient {
	client := goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: at.addrs, MasterName: at.master, Password: at.password,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// single is a Redis of one server.
func single(server *localredis.Server) redisAt { return redisAt{addrs: []string{server.Addr()}} }

// rig is some receivers on one Redis, and a load of which every ack is booked.
type rig struct {
	t         testing.TB
	at        redisAt
	client    goredis.UniversalClient // past the receivers
	receivers []*process

	stop    context.CancelFunc
	senders sync.WaitGroup
	wamids  atomic.Int64

	mu      sync.Mutex
	acked   map[string]bool // by uid
	answers map[int]int     // those that are not 200
}

// newRig starts that many receivers, each with a log of its own.
func newRig(t testing.TB, at redisAt, receivers int) *rig {
	t.Helper()
	r := &rig{t: t, at: at, client: at.client(t), acked: make(map[string]bool), answers: make(map[int]int)}
	for range receivers {
		r.receivers = append(r.receivers, start(t, t.TempDir(), at.env()...))
	}
	return r
}

// load begins to post, until verify: each webhook to one receiver, all of a
// customer and of a message's statuses to the same.
func (r *rig) load() {
	var targets [][]*process
	for _, p := range r.receivers {
		targets = append(targets, []*process{p})
	}
	r.loadTo(targets)
}

// loadSame begins to post each webhook to all receivers at once, until verify.
func (r *rig) loadSame() { r.loadTo([][]*process{r.receivers}) }

// loadTo posts each webhook to all receivers of a target.
func (r *rig) loadTo(targets [][]*process) {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.t.Cleanup(func() { stop(); r.senders.Wait() })
	for n, target := range targets {
		for i := range rigSenders {
			var customers []*rigCustomer
			for c := n + i*len(targets); c < rigCustomers; c += rigSenders * len(targets) {
				customers = append(customers, &rigCustomer{index: c})
			}
			r.senders.Go(func() { r.sendMessages(ctx, target, customers) })
			r.senders.Go(func() { r.sendStatuses(ctx, target) })
		}
	}
}

// rigCustomer writes messages numbered from 1.
type rigCustomer struct{ index, sent int }

// webhook is the customer's next message, with the uids of its events: the first
// gives birth to the contact. Every other customer has a user id beside the
// number, and so a contact under two ids.
func (c *rigCustomer) webhook() (body []byte, uids []string) {
	c.sent++
	wamid := fmt.Sprintf("wamid.M.%d.%d", c.index, c.sent)
	number, user, fromUser := fmt.Sprintf("1555%07d", c.index), "", ""
	if c.index%2 == 1 {
		user, fromUser = fmt.Sprintf(`,"user_id":"US.%d"`, c.index), fmt.Sprintf(`,"from_user_id":"US.%d"`, c.index)
	}
	body = fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"102","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000001","phone_number_id":"106"},"contacts":[{"profile":{"name":"Customer %d"},"wa_id":%q%s}],"messages":[{"from":%q%s,"id":%q,"timestamp":"%d","type":"text","text":{"body":"message %d"}}]}}]}]}`,
		c.index, number, user, number, fromUser, wamid, time.Now().Unix(), c.sent)
	uids = []string{event.UID(event.MessageNew, wamid).String()}
	if c.sent == 1 {
		birth := event.ContactIdentity(event.ContactID("102", number), wamid)
		uids = append(uids, event.UID(event.ContactNew, birth).String())
	}
	return body, uids
}

func (r *rig) sendMessages(ctx context.Context, to []*process, customers []*rigCustomer) {
	for ctx.Err() == nil && len(customers) > 0 {
		body, uids := customers[rand.IntN(len(customers))].webhook()
		if !r.post(to, body, uids...) {
			return
		}
		time.Sleep(rigPace)
	}
}

// sendStatuses posts the statuses of one message after the other, in webhooks of
// their own or in one.
func (r *rig) sendStatuses(ctx context.Context, to []*process) {
	for ctx.Err() == nil {
		wamid := fmt.Sprintf("wamid.S.%d", r.wamids.Add(1))
		webhooks := [][]string{{"sent", "delivered", "read"}}
		if rand.IntN(4) > 0 {
			webhooks = [][]string{{"sent"}, {"delivered"}, {"read"}}
		}
		for _, statuses := range webhooks {
			var uids []string
			for _, status := range statuses {
				uids = append(uids, event.UID(event.MessageStatus, event.StatusIdentity(wamid, status, "")).String())
			}
			if !r.post(to, statusWebhook(wamid, fmt.Sprintf("1555%07d", rand.IntN(2*rigCustomers)), statuses...), uids...) {
				return
			}
			time.Sleep(rigPace)
		}
	}
}

// post books what is acked, and posts some of it once more, as Meta does. It
// reports false where an answer was not 200, which ends its sender.
func (r *rig) post(to []*process, body []byte, uids ...string) bool {
	for again := false; ; again = true {
		statuses := make([]int, len(to))
		var posts sync.WaitGroup
		for i, p := range to {
			posts.Go(func() { statuses[i] = p.post(body) })
		}
		posts.Wait()
		if !r.book(statuses, uids) {
			return false
		}
		if again || rand.IntN(20) > 0 {
			return true
		}
	}
}

// book takes the answers to a webhook; false where any was not 200.
func (r *rig) book(statuses []int, uids []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	good := true
	for _, status := range statuses {
		if status != http.StatusOK {
			r.answers[status]++
			good = false
			continue
		}
		for _, uid := range uids {
			r.acked[uid] = true
		}
	}
	return good
}

// streamed is an event as it stands in a stream.
type streamed struct {
	partition int
	uid, kind string
	payload   struct {
		ID, Wamid, Status string
		WaID              string `json:"wa_id"`
		ContactID         string `json:"contact_id"`
		Stale             bool
	}
}

// read reads all streams, each in its order.
func (r *rig) read() ([]streamed, error) {
	var events []streamed
	for partition := range rigPartitions {
		entries, err := r.client.XRange(context.Background(), rigStream(partition), "-", "+").Result()
		if err != nil {
			return nil, fmt.Errorf("read stream %d: %w", partition, err)
		}
		for _, entry := range entries {
			e := streamed{partition: partition}
			e.uid, _ = entry.Values["uid"].(string)
			e.kind, _ = entry.Values["type"].(string)
			payload, _ := entry.Values["payload"].(string)
			if err := json.Unmarshal([]byte(payload), &e.payload); err != nil {
				return nil, fmt.Errorf("%s of stream %d: %w: %s", entry.ID, partition, err, payload)
			}
			events = append(events, e)
		}
	}
	return events, nil
}

func rigStream(partition int) string { return fmt.Sprintf("%s:{%02d}:events", rigPrefix, partition) }

// verify ends the load, waits until all that was acked is in the streams and
// nothing is left to dispatch, and looks whether it is all there once, in order.
func (r *rig) verify() {
	r.t.Helper()
	r.stop()
	r.senders.Wait()
	if len(r.answers) > 0 {
		r.t.Errorf("answers but 200, by status: %v", r.answers)
	}
	var events []streamed
	r.receivers[0].eventually(rigPatience, "all that was acked is in the streams", func() (err error) {
		if events, err = r.read(); err != nil {
			return err
		}
		return r.missing(events)
	})
	r.settle()
	var err error
	if events, err = r.read(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.missing(events); err != nil {
		r.t.Error(err)
	}
	faults := slices.Concat(r.strangers(events), doubles(events), disorder(events))
	for _, fault := range faults[:min(len(faults), 10)] {
		r.t.Error(fault)
	}
	if len(faults) > 10 {
		r.t.Errorf("and %d more", len(faults)-10)
	}
	r.t.Logf("%d events acked, %d in the streams", len(r.acked), len(events))
	if len(r.acked) < 200 {
		r.t.Errorf("only %d events acked", len(r.acked))
	}
	for _, p := range r.receivers {
		for line := range strings.Lines(p.logText()) {
			if !json.Valid([]byte(line)) {
				r.t.Fatalf("not a line of our log: %s", line)
			}
		}
	}
}

// logged waits until every receiver has logged what a fault is.
func (r *rig) logged(cause string) {
	r.t.Helper()
	for _, p := range r.receivers {
		p.eventually(rigPatience, "a log line that names the cause", func() error {
			if !strings.Contains(p.logText(), cause) {
				return fmt.Errorf("no %q in the log", cause)
			}
			return nil
		})
	}
}

// settle waits until no receiver has anything to dispatch, by its metrics.
func (r *rig) settle() {
	r.t.Helper()
	for _, p := range r.receivers {
		p.eventually(rigPatience, "all is dispatched", p.idle)
	}
}

// idle is an error while a receiver has something to dispatch.
func (p *process) idle() error {
	for _, lane := range []string{"express", "bulk"} {
		lag := p.number(fmt.Sprintf("spillway_dispatch_lag_seconds{lane=%q}", lane))
		waiting := p.number(fmt.Sprintf("spillway_log_unreleased_records{lane=%q}", lane))
		if lag > 0 || waiting > 0 {
			return fmt.Errorf("%s is %v s behind, %v records are not released", lane, lag, waiting)
		}
	}
	return nil
}

// missing is an error where something that was acked is in no stream.
func (r *rig) missing(events []streamed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[string]bool, len(events))
	for _, e := range events {
		seen[e.uid] = true
	}
	missing := 0
	for uid := range r.acked {
		if !seen[uid] {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d acked events are in no stream", missing, len(r.acked))
	}
	return nil
}

// strangers are the events that nothing that was acked has caused.
func (r *rig) strangers(events []streamed) (faults []error) {
	for _, e := range events {
		if !r.acked[e.uid] {
			faults = append(faults, fmt.Errorf("nothing has caused %s %s: %+v", e.kind, e.uid, e.payload))
		}
	}
	return faults
}

// doubles are the events that came more than once, and the contacts that were
// born more than once.
func doubles(events []streamed) (faults []error) {
	times, births := make(map[string]int), make(map[string]int)
	for _, e := range events {
		times[e.uid]++
		if e.kind == event.ContactNew {
			births[e.payload.WaID]++
		}
	}
	for uid, n := range times {
		if n > 1 {
			faults = append(faults, fmt.Errorf("%s is in the streams %d times", uid, n))
		}
	}
	for number, n := range births {
		if n > 1 {
			faults = append(faults, fmt.Errorf("the customer %s was new %d times", number, n))
		}
	}
	return faults
}

// disorder is all that is out of order: the messages of a customer, who is known
// before the first of them and by one contact, and the statuses of a message.
func disorder(events []streamed) (faults []error) {
	type place struct{ partition, number int }
	last := make(map[string]place) // by customer, or by the message of a status
	owner := make(map[int]string)
	known := make(map[string]bool) // contacts
	follow := func(who string, partition, number int) {
		before, found := last[who]
		if found && (before.partition != partition || before.number >= number) {
			faults = append(faults, fmt.Errorf("%s: number %d in stream %d after number %d in stream %d",
				who, number, partition, before.number, before.partition))
		}
		last[who] = place{partition, number}
	}
	for _, e := range events {
		switch e.kind {
		case event.ContactNew:
			known[e.payload.ID] = true
		case event.MessageNew:
			var customer, number int
			if _, err := fmt.Sscanf(e.payload.Wamid, "wamid.M.%d.%d", &customer, &number); err != nil {
				continue // another test's
			}
			follow(fmt.Sprintf("customer %d", customer), e.partition, number)
			contact := e.payload.ContactID
			if !known[contact] {
				faults = append(faults, fmt.Errorf("customer %d: message %d before the contact", customer, number))
			}
			if owner[customer] != "" && owner[customer] != contact {
				faults = append(faults, fmt.Errorf("customer %d has contacts %s and %s", customer, owner[customer], contact))
			}
			owner[customer] = contact
		case event.MessageStatus:
			follow(e.payload.Wamid, e.partition, slices.Index(soakStatuses, e.payload.Status))
			if e.payload.Stale {
				faults = append(faults, fmt.Errorf("%s %s is stale", e.payload.Wamid, e.payload.Status))
			}
		}
	}
	return faults
}

// TestDisorder: the comparison finds what it is there for.
func TestDisorder(t *testing.T) {
	of := func(kind, wamid, status string) streamed {
		e := streamed{uid: kind + wamid + status, kind: kind}
		e.payload.ID, e.payload.ContactID, e.payload.Wamid, e.payload.Status = "c", "c", wamid, status
		return e
	}
	contact := of(event.ContactNew, "", "")
	one, two := of(event.MessageNew, "wamid.M.3.1", ""), of(event.MessageNew, "wamid.M.3.2", "")
	sent, read := of(event.MessageStatus, "wamid.S.1", "sent"), of(event.MessageStatus, "wamid.S.1", "read")
	elsewhere := two
	elsewhere.partition = 1
	for _, c := range []struct {
		name   string
		events []streamed
		want   int
	}{
		{"in order", []streamed{contact, one, sent, two, read}, 0},
		{"messages", []streamed{contact, two, one}, 1},
		{"statuses", []streamed{read, sent}, 1},
		{"two streams", []streamed{contact, one, elsewhere}, 1},
		{"no contact", []streamed{one}, 1},
		{"twice", []streamed{sent, sent}, 2},
		{"born twice", []streamed{contact, contact}, 2},
	} {
		if faults := append(doubles(c.events), disorder(c.events)...); len(faults) != c.want {
			t.Errorf("%s: %d faults, want %d: %v", c.name, len(faults), c.want, errors.Join(faults...))
		}
	}
}
