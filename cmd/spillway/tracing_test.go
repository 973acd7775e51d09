package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

// tracedPerson is what no trace may show.
var tracedPerson = []string{
	"wamid.TRACED", "155591112223", "Traced Person", "a text nobody else may read", "155590001112", "77700011122", "88800011122",
}

// tracedWebhook has two messages of a customer and two statuses; uids are those of
// its events, in this order.
func tracedWebhook(n int) (body []byte, uids []string) {
	wamids := []string{fmt.Sprintf("wamid.TRACED%dA", n), fmt.Sprintf("wamid.TRACED%dB", n)}
	var messages, statuses []string
	for _, wamid := range wamids {
		messages = append(messages, fmt.Sprintf(`{"from":"155591112223","id":%q,"timestamp":"%d","type":"text","text":{"body":"a text nobody else may read"}}`,
			wamid, time.Now().Unix()))
		uids = append(uids, event.UID(event.MessageNew, wamid).String())
	}
	for _, status := range []string{"sent", "read"} {
		statuses = append(statuses, fmt.Sprintf(`{"id":"wamid.TRACED%dC","status":%q,"timestamp":"%d","recipient_id":"155591112223"}`,
			n, status, time.Now().Unix()))
		uids = append(uids, event.UID(event.MessageStatus, event.StatusIdentity(fmt.Sprintf("wamid.TRACED%dC", n), status, "")).String())
	}
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"77700011122","changes":[{"field":"messages","value":{"messaging_product":"whatsapp",`+
		`"metadata":{"display_phone_number":"155590001112","phone_number_id":"88800011122"},"contacts":[{"profile":{"name":"Traced Person"},"wa_id":"155591112223"}],`+
		`"messages":[%s],"statuses":[%s]}}]}]}`, strings.Join(messages, ","), strings.Join(statuses, ",")), uids
}

func traceOf(uid string) string { return strings.ReplaceAll(uid, "-", "") }

// want waits until a trace has so many spans of each name, and gives them.
func (c *collector) want(p *process, uid string, counts map[string]int) map[string][]tracedSpan {
	p.t.Helper()
	var found map[string][]tracedSpan
	p.eventually(30*time.Second, "a trace", func() error {
		found = c.of(traceOf(uid))
		for name, n := range counts {
			if len(found[name]) < n {
				return fmt.Errorf("%s has %d spans %s, want %d", uid, len(found[name]), name, n)
			}
		}
		return nil
	})
	return found
}

// checkTraces wants each span's parent in its trace, one root in each, each span to
// start no sooner than its parent and to end after it began, and nothing of a person.
func (c *collector) checkTraces(t *testing.T, contacts ...string) {
	t.Helper()
	byID := make(map[string]tracedSpan)
	for _, s := range c.all() {
		if _, doubled := byID[s.trace+s.id]; doubled {
			t.Errorf("two spans are %s of %s", s.id, s.trace)
		}
		byID[s.trace+s.id] = s
	}
	roots := make(map[string]int)
	for _, s := range byID {
		if s.end.Before(s.start) {
			t.Errorf("%s ends %s before it begins", s.name, s.start.Sub(s.end))
		}
		for _, text := range s.texts {
			for _, personal := range append(contacts, tracedPerson...) {
				if strings.Contains(text, personal) {
					t.Errorf("%s has %q in it", s.name, text)
				}
			}
		}
		if s.parent == "" {
			roots[s.trace]++
			continue
		}
		parent, known := byID[s.trace+s.parent]
		if !known || s.start.Before(parent.start) {
			t.Errorf("%s of %s: parent %+v", s.name, s.trace, parent)
		}
		if s.name == "apply" && !s.failed && s.end.After(parent.end) {
			t.Errorf("apply ends %s after dispatch", s.end.Sub(parent.end))
		}
	}
	for id, n := range roots {
		if n != 1 {
			t.Errorf("%s has %d roots", id, n)
		}
	}
}

// TestTracing follows the events of a webhook, and of its redelivery, through a
// real receiver.
func TestTracing(t *testing.T) {
	c := startCollector(t)
	p := start(t, t.TempDir(), c.env(1)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	incoming := p.subscribeLive(ctx)
	body, uids := tracedWebhook(1)
	if status := p.post(body); status != http.StatusOK {
		t.Fatalf("answer %d", status)
	}
	types, contacts := make(map[string]string), []string(nil)
	for range len(uids) + 1 { // and contact:new
		e := <-incoming
		types[e.UID] = e.Type
		if id, _ := e.Payload["contact_id"].(string); id != "" {
			contacts = append(contacts, id)
		}
	}
	for _, uid := range uids {
		spans := c.want(p, uid, map[string]int{"receive": 1, "dispatch": 1, "apply": 1, "frame": 1})
		checkWay(t, uid, types[uid], spans)
	}
	if status := p.post(body); status != http.StatusOK {
		t.Fatalf("answer %d", status)
	}
	for _, uid := range uids {
		spans := c.want(p, uid, map[string]int{"receive": 2, "dispatch": 2, "apply": 2})
		again := spans["receive"][1]
		if again.parent != spans["receive"][0].id || again.attributes["spillway.outcome"] != "duplicate" || spans["dispatch"][1].parent != again.id {
			t.Errorf("a redelivery: %+v, then %+v", again, spans["dispatch"][1])
		}
	}
	c.checkTraces(t, contacts...)
	for uid, kind := range types {
		if kind == event.ContactNew && len(c.of(traceOf(uid))["frame"]) != 1 {
			t.Errorf("%s has no frame", uid)
		}
	}
}

// checkWay wants the spans of an event that took effect at once.
func checkWay(t *testing.T, uid, kind string, spans map[string][]tracedSpan) {
	t.Helper()
	receive, dispatch, apply, frame := spans["receive"][0], spans["dispatch"][0], spans["apply"][0], spans["frame"][0]
	if receive.id != traceOf(uid)[:16] || receive.parent != "" || dispatch.parent != receive.id || apply.parent != dispatch.id || frame.parent != receive.id {
		t.Errorf("%s: the spans are not below one another: %+v", uid, spans)
	}
	if dispatch.start.Before(receive.start) || apply.start.Before(dispatch.start) || frame.start.Before(apply.start) || frame.end.Before(receive.end) {
		t.Errorf("%s: the spans are not in order: %+v", uid, spans)
	}
	for key, want := range map[string]string{
		"spillway.lane": "express", "spillway.seq": "1", "spillway.event.type": kind, "spillway.attempts": "1", "messaging.operation.type": "process",
	} {
		if got := dispatch.attributes[key]; got != want {
			t.Errorf("%s: %s is %q, want %q", uid, key, got, want)
		}
	}
	if got := receive.attributes["spillway.outcome"]; got != "fresh" {
		t.Errorf("%s: outcome %s", uid, got)
	}
	if frame.attributes["spillway.sockets"] != "1" || frame.attributes["spillway.event.type"] != kind {
		t.Errorf("%s: frame has %v", uid, frame.attributes)
	}
}

// subscribeLive is a subscriber who is level before it returns.
func (p *process) subscribeLive(ctx context.Context) <-chan received {
	p.t.Helper()
	incoming := p.subscribe(ctx, "")
	p.eventually(10*time.Second, "a live socket", func() error {
		if got := p.metric("spillway_stream_sent_bytes_total"); got == "0" {
			return fmt.Errorf("nothing was sent")
		}
		return nil
	})
	return incoming
}

// TestTracingAcrossReceivers: a webhook comes to a receiver while Redis is away, and
// its events go out by another one once it is back: it is one trace.
func TestTracingAcrossReceivers(t *testing.T) {
	c := startCollector(t)
	server := startRedis(t, localredis.Options{AppendOnly: true, Fsync: "always"})
	env := append(single(server).env(), c.env(1)...)
	taker, sender := start(t, t.TempDir(), env...), start(t, t.TempDir(), env...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	incoming := sender.subscribeLive(ctx)
	server.Kill()
	body, uids := tracedWebhook(2)
	if status := taker.post(body); status != http.StatusOK {
		t.Fatalf("answer %d", status)
	}
	for _, uid := range uids {
		c.want(taker, uid, map[string]int{"apply": 1})
	}
	restart(t, server)
	for range len(uids) + 1 {
		<-incoming
	}
	for _, uid := range uids {
		spans := c.want(taker, uid, map[string]int{"receive": 1, "dispatch": 1, "apply": 2})
		if failed := spans["apply"][0]; !failed.failed || failed.attributes["error.type"] == "" || failed.attributes["spillway.attempt"] != "1" {
			t.Errorf("the first call: %+v", failed)
		}
		last := spans["apply"][len(spans["apply"])-1]
		if n := spans["dispatch"][0].attributes["spillway.attempts"]; last.failed || n == "1" || n != last.attributes["spillway.attempt"] {
			t.Errorf("after %s attempts: %+v", n, last)
		}
		if frames := spans["frame"]; len(frames) > 0 && frames[0].receiver == spans["receive"][0].receiver {
			t.Error("both receivers have one name")
		}
	}
	if frames := c.want(sender, uids[0], map[string]int{"frame": 1})["frame"]; frames[0].attributes["spillway.sockets"] != "1" {
		t.Errorf("the frame: %+v", frames[0])
	}
	c.checkTraces(t)
}

// TestTracingSample: two receivers that know nothing of each other trace the same
// events.
func TestTracingSample(t *testing.T) {
	const webhooks = 50
	var sampled [2][]string
	for i := range sampled {
		c := startCollector(t)
		p := start(t, t.TempDir(), c.env(0.3)...)
		for n := range webhooks {
			if status := p.post(statusWebhook(fmt.Sprintf("wamid.SAMPLE%d", n), "15550001001", "sent", "read")); status != http.StatusOK {
				t.Fatalf("answer %d", status)
			}
		}
		p.eventually(30*time.Second, "all is dispatched", p.idle)
		if code := p.terminate(20 * time.Second); code != 0 { // which sends the rest
			t.Errorf("exit code %d", code)
		}
		traces := make(map[string]bool)
		for _, s := range c.all() {
			traces[s.trace] = true
		}
		sampled[i] = slices.Sorted(maps.Keys(traces))
	}
	if n := len(sampled[0]); n < 10 || n > 55 {
		t.Errorf("%d of 100 events are traced, want some 30", n)
	}
	if !slices.Equal(sampled[0], sampled[1]) {
		t.Errorf("the receivers trace different events:\n%v\n%v", sampled[0], sampled[1])
	}
}

// TestTracingCollectorAway: a collector that refuses, and one that never answers,
// delay nothing.
func TestTracingCollectorAway(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // whose backlog takes connections
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	for name, address := range map[string]string{"silent": silent.Addr().String(), "refusing": refusing.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			p := start(t, t.TempDir(), tracingEnv("http://"+address, 1)...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			incoming := p.subscribeLive(ctx)
			for n := range 20 {
				body, uids := tracedWebhook(n)
				began := time.Now()
				if status := p.post(body); status != http.StatusOK {
					t.Fatalf("answer %d", status)
				}
				for range uids {
					<-incoming
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("acked and streamed after %s", took)
				}
			}
			if code := p.terminate(15 * time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if log := p.logText(); !strings.Contains(log, "traces are lost") || strings.Contains(log, collectorSecret) {
				t.Error("the log does not say that traces are lost, or says a secret")
			}
		})
	}
}
