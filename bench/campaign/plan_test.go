package campaign

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/meta"
	"spillway/ingest"
)

func TestShape(t *testing.T) {
	// 5 in the ramp, 10 at the hold, 100 in the burst, then 10 a second.
	s := Shape{Rate: 10, Ramp: time.Second, BurstFactor: 10, BurstAt: 2 * time.Second, BurstLength: time.Second}
	for n, want := range map[int]float64{0: 0, 5: 1, 10: 1.5, 15: 2, 65: 2.5, 115: 3, 125: 4} {
		if at := s.at(n).Seconds(); math.Abs(at-want) > 1e-6 {
			t.Errorf("message %d at %v s, want %v", n, at, want)
		}
	}
	for before := time.Duration(-1); s.BurstFactor >= 0; s.BurstFactor -= 10 {
		for n := range 200 {
			if at := s.at(n); at <= before {
				t.Fatalf("message %d at %s, after one at %s", n, at, before)
			} else {
				before = at
			}
		}
		before = -1
	}
	if at := (Shape{Rate: 100}).at(50); at != 500*time.Millisecond {
		t.Errorf("without a ramp: %s", at)
	}
}

func allOf(cfg Config, run uint64) (hooks []*webhook, lives int) {
	p := newPlan(&cfg, run)
	p.begun = func(*life) { lives++ }
	for w := p.take(); w != nil; w = p.take() {
		hooks = append(hooks, w)
	}
	return hooks, lives
}

// TestPlan: each update once, in webhooks that are in order and hold no more than
// allowed; the same for the same seed.
func TestPlan(t *testing.T) {
	for _, batch := range []int{1, 2, 50} {
		cfg := quick()
		cfg.Recipients, cfg.Batch = 3000, batch
		hooks, lives := allOf(cfg, 1)
		again, _ := allOf(cfg, 1)
		if !reflect.DeepEqual(hooks, again) {
			t.Error("the same seed gives another plan")
		}
		seen := map[[2]int32]bool{}
		largest, before, until := 0, time.Duration(0), cfg.until(1)
		for _, w := range hooks {
			if w.due < before || w.due > until {
				t.Fatalf("webhook %d due at %s, after one at %s, until %s", w.number, w.due, before, until)
			}
			before, largest = w.due, max(largest, len(w.items))
			for _, it := range w.items {
				if key := [2]int32{it.recipient, int32(it.update)}; seen[key] || it.due > w.due || w.due > it.due+2*batchWindow {
					t.Fatalf("update %v of webhook due at %s, again: %v", it, w.due, seen[key])
				} else {
					seen[key] = true
				}
			}
		}
		if lives != 3000 || len(seen) < 3000*32/10 || len(seen) > 3000*34/10 {
			t.Errorf("%d recipients, %d updates: not 3.3 a message", lives, len(seen))
		}
		if largest > batch || largest < min(batch, 20) || batch == 1 && len(hooks) != len(seen) {
			t.Errorf("batch %d: up to %d updates in %d webhooks", batch, largest, len(hooks))
		}
	}
	a, _ := allOf(quick(), 1)
	other := quick()
	other.Seed++
	if b, _ := allOf(other, 1); reflect.DeepEqual(a, b) {
		t.Error("another seed gives the same plan")
	}
}

// TestBodies: what is written is decoded to the updates that were planned, and
// goes to the lane that the ledger takes it to be in.
func TestBodies(t *testing.T) {
	cfg := quick()
	cfg.Recipients = 500
	const run = 1e15 + 7
	l := newLedger(run, cfg.Recipients)
	p := newPlan(&cfg, run)
	p.begun = l.add
	w := &writer{cfg: &cfg, run: run, began: time.Now()}
	mixed := 0
	for hook := p.take(); hook != nil; hook = p.take() {
		body := bytes.Clone(w.write(hook))
		if !bytes.Equal(body, w.write(hook)) {
			t.Fatal("the same webhook has another body")
		}
		if bulk := ingest.Bulk(body); bulk != hook.bulk {
			t.Errorf("bulk %v, taken for %v: %s", bulk, hook.bulk, body)
		}
		if !hook.bulk && bytes.Contains(body, []byte(`"statuses"`)) {
			mixed++
		}
		l.posting(hook, time.Second)
		l.ack(hook, 2*time.Second)
		seeDecoded(t, l, body, len(hook.items))
	}
	r := &Result{}
	if l.tally(r); r.Lost != 0 || r.Duplicated != 0 || r.EventsSeen != r.EventsExpected || r.EventsSeen < 1600 {
		t.Errorf("%+v", r)
	}
	if mixed == 0 {
		t.Error("no webhook holds both messages and statuses")
	}
}

// seeDecoded shows the ledger the events of a webhook, and the contacts that are
// born by their first messages, as a receiver would.
func seeDecoded(t *testing.T, l *ledger, body []byte, updates int) {
	t.Helper()
	events, dead := meta.Decode(time.Now(), body)
	if len(dead) > 0 || len(events) != updates {
		t.Fatalf("%d events of %d updates, dead %v: %s", len(events), updates, dead, body)
	}
	for _, e := range events {
		if latency, own := l.see(Event{UID: e.UID, Type: e.Type, Payload: e.Payload}, 3*time.Second); !own || latency > 3*time.Second {
			t.Fatalf("not ours: %s", e.Payload)
		}
		if !e.IsWriter() {
			continue
		}
		payload := `{"wa_id":"` + e.Customer.WaID + `","user_id":"` + e.Customer.UserID + `"}`
		birth := event.UID(event.ContactNew, e.Customer.Primary())
		number, ok := customerOf(l.run, e.Customer.WaID, e.Customer.UserID)
		if last := l.first[number+1] - 1; ok && l.entries[last].seen == 0 {
			l.see(Event{UID: birth, Type: event.ContactNew, Payload: []byte(payload)}, 3*time.Second)
		}
	}
}

func TestWamid(t *testing.T) {
	wamid := string(appendWamid(nil, 77, 123456, 2))
	if number, message, ok := parseWamid(77, wamid); !ok || number != 123456 || message != 2 || len(wamid) != 58 {
		t.Errorf("%s: %d, %d, %v", wamid, number, message, ok)
	}
	for _, bad := range []string{"", "wamid.", wamid[:57], wamid + "=", "Wamid." + wamid[6:], "wamid.*" + wamid[7:]} {
		if _, _, ok := parseWamid(77, bad); ok {
			t.Errorf("taken: %q", bad)
		}
	}
	if _, _, ok := parseWamid(78, wamid); ok {
		t.Error("one of another run is taken")
	}
}

func TestCustomers(t *testing.T) {
	const run = 1e15 + 3
	for _, c := range []struct {
		waID, userID string
		ok           bool
	}{
		{waID(run, 9_999_999), "", true}, {"", userID(run, 9_999_999), true}, {waID(run, 9_999_999), userID(run, 9_999_999), true},
		{"", "", false}, {"15551234567", "", false}, {waID(run+1, 9_999_999), "", false}, {"", "US.1", false}, {"9" + "0000003" + "99999x9", "", false},
	} {
		if number, ok := customerOf(run, c.waID, c.userID); ok != c.ok || ok && number != 9_999_999 {
			t.Errorf("%q %q: %d, %v", c.waID, c.userID, number, ok)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, name := range Presets() {
		c, err := Preset(name)
		if err != nil || c.Validate() != nil {
			t.Errorf("%s: %v, %v", name, err, c.Validate())
		}
	}
	if _, err := Preset("large"); err == nil {
		t.Error("a preset that is none is taken")
	}
	for name, change := range map[string]func(*Config){
		"recipients": func(c *Config) { c.Recipients = MaxRecipients + 1 }, "rate": func(c *Config) { c.Shape.Rate = 0 },
		"redelivered": func(c *Config) { c.Redeliver = 2 }, "updates": func(c *Config) { c.Batch = 1001 },
		"delays": func(c *Config) { c.Delays = 0 }, "connections": func(c *Config) { c.Connections = 0 },
		"kill every": func(c *Config) { c.KillEvery = time.Second }, "settle": func(c *Config) { c.Settle = 0 },
	} {
		c := quick()
		if change(&c); c.Validate() == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}

func TestRecovery(t *testing.T) {
	s := Shape{Rate: 1, Ramp: time.Second, BurstFactor: 10, BurstAt: 4 * time.Second, BurstLength: 2 * time.Second}
	series := func(p99s ...float64) (points []Point) {
		for i, p := range p99s {
			points = append(points, Point{Second: i, Seen: 1, DeliveryP99: p})
		}
		return points
	}
	for name, c := range map[string]struct {
		series []Point
		want   float64
	}{
		"at once":         {series(9, .1, .1, .1, 1, 1, .1, .1, .1), 0},
		"after a relapse": {series(9, .1, .1, .1, 1, 1, .1, .1, 1, .1, .1, .2), 3},
		"never":           {series(9, .1, .1, .1, 1, 1, 1, 1, 1), -1},
	} {
		if b := recovery(s, c.series); b == nil || b.RecoveredAfter != c.want || b.NormalSeconds != .2 || b.From != 4 {
			t.Errorf("%s: %+v", name, b)
		}
	}
	stalled := series(9, .1, .1, .1, 1, 1, 0, 0, 0)
	stalled[7].Lag = 2
	if b := recovery(s, stalled); b.RecoveredAfter != -1 {
		t.Errorf("nothing comes: %+v", b)
	}
	if b := recovery(s, series(1, 1, 1)); b != nil {
		t.Errorf("a campaign that was cut short: %+v", b)
	}
	if b := recovery(Shape{Rate: 1}, series(1, 1, 1)); b != nil {
		t.Errorf("no burst: %+v", b)
	}
}
