package campaign

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
)

// TestLedger goes through what may happen to the events of one message, step by
// step, and counts.
func TestLedger(t *testing.T) {
	const run = 5
	life := &life{updates: []update{{kind: sent}, {kind: delivered}, {kind: read}, {kind: reply}, {kind: reply}}}
	hook := func(bulk bool, update uint8, k kind) *webhook {
		return &webhook{bulk: bulk, items: []item{{update: update, kind: k}}}
	}
	hooks := map[string]*webhook{
		"sent": hook(true, 0, sent), "delivered": hook(true, 1, delivered), "read": hook(false, 2, read),
		"first": hook(false, 3, reply), "second": hook(false, 4, reply),
	}
	seen := func(name string) Event {
		wamid := func(message int) string { return string(appendWamid(nil, run, 0, message)) }
		e := Event{UID: event.UID("test", name), Type: event.MessageNew}
		switch name {
		case "first":
			e.Payload = fmt.Appendf(nil, `{"wamid":%q}`, wamid(1))
		case "second":
			e.Payload = fmt.Appendf(nil, `{"wamid":%q}`, wamid(2))
		case "contact":
			e.Type, e.Payload = event.ContactNew, fmt.Appendf(nil, `{"wa_id":%q}`, waID(run, 0))
		default:
			e.Type, e.Payload = event.MessageStatus, fmt.Appendf(nil, `{"wamid":%q,"status":%q}`, wamid(0), name)
		}
		return e
	}
	for name, c := range map[string]struct {
		steps []string
		want  Result
	}{
		"all well":                        {[]string{"post sent", "ack sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1}},
		"seen before the ack":             {[]string{"post sent", "see sent", "ack sent"}, Result{EventsExpected: 1, EventsSeen: 1}},
		"never acked":                     {[]string{"post sent"}, Result{}},
		"lost":                            {[]string{"post sent", "ack sent"}, Result{EventsExpected: 1, Lost: 1}},
		"acked twice":                     {[]string{"post sent", "ack sent", "ack sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1}},
		"a message and its contact":       {[]string{"post first", "ack first", "see contact", "see first"}, Result{EventsExpected: 2, EventsSeen: 2}},
		"a contact that is not born":      {[]string{"post first", "ack first", "see first"}, Result{EventsExpected: 2, EventsSeen: 1, Lost: 1}},
		"doubled":                         {[]string{"post sent", "ack sent", "see sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1, Duplicated: 1}},
		"again over the next connection":  {[]string{"post sent", "ack sent", "see sent", "reconnect", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1}},
		"twice over the next connection":  {[]string{"post sent", "ack sent", "see sent", "reconnect", "see sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1, Duplicated: 1}},
		"kept once":                       {[]string{"post sent", "ack sent", "see sent", "reconnect", "see sent", "recount", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1}},
		"kept, and never sent":            {[]string{"post sent", "ack sent", "reconnect", "recount", "see sent"}, Result{EventsExpected: 1, Lost: 1}},
		"kept twice":                      {[]string{"post sent", "ack sent", "see sent", "reconnect", "see sent", "recount", "see sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1, Duplicated: 1}},
		"kept twice, and doubled before":  {[]string{"post sent", "ack sent", "see sent", "see sent", "reconnect", "recount", "see sent", "see sent"}, Result{EventsExpected: 1, EventsSeen: 1, Duplicated: 1}},
		"again under another uid":         {[]string{"post sent", "ack sent", "see sent", "reconnect", "rename sent"}, Result{EventsExpected: 1, EventsSeen: 1, Duplicated: 1}},
		"two with one uid":                {[]string{"post sent", "post delivered", "ack sent", "ack delivered", "see sent", "mistake delivered for sent"}, Result{EventsExpected: 2, EventsSeen: 2, Duplicated: 1}},
		"out of order":                    {[]string{"post sent", "ack sent", "post delivered", "ack delivered", "see delivered", "see sent"}, Result{EventsExpected: 2, EventsSeen: 2, OutOfOrder: 1}},
		"posted before the other's ack":   {[]string{"post sent", "post delivered", "ack sent", "ack delivered", "see delivered", "see sent"}, Result{EventsExpected: 2, EventsSeen: 2}},
		"of another lane":                 {[]string{"post sent", "ack sent", "post read", "ack read", "see read", "see sent"}, Result{EventsExpected: 2, EventsSeen: 2}},
		"replies out of order":            {[]string{"post first", "ack first", "post second", "ack second", "see contact", "see second", "see first"}, Result{EventsExpected: 3, EventsSeen: 3, OutOfOrder: 1}},
		"a message and a status":          {[]string{"post read", "ack read", "post first", "ack first", "see contact", "see first", "see read"}, Result{EventsExpected: 3, EventsSeen: 3}},
		"a redelivery is no second event": {[]string{"post sent", "ack sent", "post delivered", "ack delivered", "post sent", "see sent", "see delivered"}, Result{EventsExpected: 2, EventsSeen: 2}},
	} {
		l := newLedger(run, 1)
		l.add(life)
		l.connected()
		now := time.Second
		for _, step := range c.steps {
			now += time.Millisecond
			var what, name, other string
			_, _ = fmt.Sscanf(step, "%s %s for %s", &what, &name, &other)
			switch what {
			case "post":
				l.posting(hooks[name], now)
			case "ack":
				l.ack(hooks[name], now)
			case "see":
				l.see(seen(name), now)
			case "rename":
				e := seen(name)
				e.UID = uuid.New()
				l.see(e, now)
			case "mistake":
				e := seen(name)
				e.UID = seen(other).UID
				l.see(e, now)
			case "reconnect":
				l.connected()
			case "recount":
				l.recount()
			}
		}
		var got Result
		if l.tally(&got); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %d expected, %d seen, %d lost, %d duplicated, %d out of order", name,
				got.EventsExpected, got.EventsSeen, got.Lost, got.Duplicated, got.OutOfOrder)
		}
	}
}

// TestBacklog: the lag is that of the oldest event that was acked and not seen.
func TestBacklog(t *testing.T) {
	l := newLedger(1, 2)
	for range 2 {
		l.add(&life{updates: []update{{kind: sent}}})
	}
	for n := range int32(2) {
		w := &webhook{items: []item{{recipient: n, kind: sent}}}
		l.posting(w, 1)
		l.ack(w, time.Duration(n+1)*time.Second)
	}
	look := func(events int64, lag time.Duration) {
		t.Helper()
		if e, d := l.backlog(5 * time.Second); e != events || d != lag {
			t.Errorf("%d events, %s; want %d, %s", e, d, events, lag)
		}
	}
	look(2, 4*time.Second)
	for n, want := range []time.Duration{3 * time.Second, 0} {
		payload := fmt.Appendf(nil, `{"wamid":%q,"status":"sent"}`, appendWamid(nil, 1, n, 0))
		l.see(Event{UID: uuid.New(), Type: event.MessageStatus, Payload: payload}, 4*time.Second)
		look(int64(1-n), want)
	}
}
