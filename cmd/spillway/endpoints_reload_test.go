package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/dispatch/deliver"
)

// TestEndpointsReload adds an endpoint while events flow, removes it, and adds it
// again: it hears of all since it was there first, of each once.
func TestEndpointsReload(t *testing.T) {
	storesOf(t, func(t *testing.T, env []string) {
		t.Parallel()
		const customers = 20
		stays, comes, m := newHearer(t), newHearer(t), newTold(t)
		file := filepath.Join(t.TempDir(), "spillway.yaml")
		alone, both := map[string]*hearer{"stays": stays}, map[string]*hearer{"stays": stays, "comes": comes}
		writeEndpoints(t, file, alone, "")
		p := serveFile(t, t.TempDir(), file, env...)
		change := func(to map[string]*hearer) {
			t.Helper()
			writeEndpoints(t, file, to, "")
			p.reload("reloaded")
			p.eventually(time.Minute, "the shares are those of the config", func() error { return delivers(p, len(to)) })
		}
		p.eventually(time.Minute, "all shares are leased", func() error { return delivers(p, 1) })
		before := m.messages(p, 100, customers, 0)
		p.eventually(time.Minute, "the one that stays has all", func() error { return stays.lacks(before) })

		stop := flow(m, p, 1000)
		change(both)
		since := m.messages(p, 100, customers, 0)
		change(alone)
		since = append(since, m.messages(p, 100, customers, 0)...)
		change(both)
		since = append(since, m.messages(p, 100, customers, 0)...)
		stop()

		p.eventually(time.Minute, "the one that comes has all since", func() error { return comes.lacks(since) })
		p.eventually(time.Minute, "the one that stays has all", func() error { return stays.lacks(m.uids()) })
		for _, uid := range before {
			if comes.times(uid) > 0 {
				t.Errorf("%s was heard by an endpoint that was added later", uid)
			}
		}
		for _, uid := range m.uids() {
			if n := comes.times(uid); n > 1 {
				t.Errorf("%s was heard %d times by the endpoint that comes", uid, n)
			}
			if n := stays.times(uid); n != 1 {
				t.Errorf("%s was heard %d times by the endpoint that stays", uid, n)
			}
		}
	})
}

// times is how often an event was heard.
func (h *hearer) times(uid string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard[uid]
}

// flow has a customer write on and on, until stop, which waits for it.
func flow(m *told, p *process, customer int) (stop func()) {
	ending := make(chan struct{})
	var flowing sync.WaitGroup
	flowing.Go(func() {
		for {
			select {
			case <-ending:
				return
			case <-time.After(5 * time.Millisecond):
				m.message(customer, func() *process { return p })
			}
		}
	})
	return func() { close(ending); flowing.Wait() }
}

// TestDeliverCommands works on an endpoint of a running receiver.
func TestDeliverCommands(t *testing.T) {
	without(t)
	storesOf(t, func(t *testing.T, env []string) {
		h, m := newHearer(t), newTold(t)
		p := serveWithEndpoints(t, t.TempDir(), "", map[string]*hearer{"crm": h}, env...)
		p.eventually(time.Minute, "all shares are leased", func() error { return delivers(p, 1) })
		c := deliverCommands{t: t, p: p}
		c.wantList(crmStatus{Breaker: "closed", Shares: 32})
		c.want(exitOK, `"result":"delivered","code":200`, "test", "crm", "--json")
		if h.count() != 1 {
			t.Errorf("heard %d events, want the test's alone", h.count())
		}

		c.want(exitOK, `{"endpoint":"crm","paused":true}`, "pause", "crm")
		paused := m.messages(p, 20, 5, 0)
		c.wantList(crmStatus{Paused: true, Breaker: "closed", Shares: 32, Waiting: len(paused)})
		if h.count() != 1 {
			t.Errorf("heard %d events while it was paused", h.count()-1)
		}
		c.want(exitOK, `"result":"delivered"`, "test", "crm", "--json")
		c.want(exitOK, `{"endpoint":"crm","paused":false}`, "resume", "crm")
		p.eventually(30*time.Second, "all that waited has come", func() error { return h.lacks(paused) })
		c.wantList(crmStatus{Breaker: "closed", Shares: 32})

		h.set(answers(http.StatusUnprocessableEntity))
		c.want(exitFailure, `"result":"refused","code":422`, "test", "crm", "--json")
		refused := m.messages(p, 20, 5, 0)
		c.wantList(crmStatus{Breaker: "closed", Shares: 32, Dead: len(refused)})
		c.want(exitOK, `"reason":"answered 422 Unprocessable Entity"`, "dead", "list", "crm")
		h.set(answers(http.StatusOK))
		c.want(exitOK, `"retried":1}`, "dead", "retry", "crm", refused[0])
		p.eventually(30*time.Second, "the one that was sent again has come", func() error { return h.lacks(refused[:1]) })
		c.wantList(crmStatus{Breaker: "closed", Shares: 32, Dead: len(refused) - 1})
		c.want(exitOK, `"retried":19}`, "dead", "retry", "crm", "--all")
		p.eventually(30*time.Second, "all that were refused have come", func() error { return h.lacks(refused) })
		c.wantList(crmStatus{Breaker: "closed", Shares: 32})
		for _, uid := range m.uids() {
			if n := h.times(uid); n != 1 {
				t.Errorf("%s was heard %d times", uid, n)
			}
		}
	})
}

// deliverCommands runs `spillway deliver` against a receiver.
type deliverCommands struct {
	t *testing.T
	p *process
}

func (c deliverCommands) run(args ...string) outcome {
	c.t.Helper()
	return spillway(c.t, "", append([]string{"deliver", "--admin", "http://" + c.p.admin}, args...)...)
}

func (c deliverCommands) want(code int, printed string, args ...string) {
	c.t.Helper()
	if got := c.run(args...); got.code != code || !strings.Contains(got.stdout, printed) {
		c.t.Errorf("%q: got %+v, want %d and %s", args, got, code, printed)
	}
}

// crmStatus is what is known of the endpoint crm.
type crmStatus struct {
	Paused                bool
	Breaker               string
	Shares, Waiting, Dead int
}

// wantList waits until the list says so: what was settled shows a little later.
func (c deliverCommands) wantList(want crmStatus) {
	c.t.Helper()
	c.p.eventually(30*time.Second, "the list is as it should be", func() error {
		got := c.run("list", "--json")
		var line deliver.Status
		if err := json.Unmarshal([]byte(got.stdout), &line); got.code != exitOK || err != nil {
			return fmt.Errorf("%+v: %w", got, err)
		}
		status := crmStatus{line.State.Paused, line.Breaker, line.Shares, int(line.Waiting), int(line.Dead)}
		if status != want {
			return fmt.Errorf("%+v, want %+v", status, want)
		}
		return nil
	})
}
