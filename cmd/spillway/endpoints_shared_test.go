package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store/redis/localredis"
)

const (
	// sharedCustomers write to each receiver, by turns.
	sharedCustomers = 60
	// sharedPace is between two of them.
	sharedPace = 10 * time.Millisecond
	// unsettled bounds how long ago an event was heard that the store was not told of:
	// the engine's 50 ms, and what a busy machine takes.
	unsettled = 10 * time.Second
)

// shared is an endpoint that two receivers deliver to, a and b, each with a header
// that tells which it is.
type shared struct {
	t     *testing.T
	env   []string
	told  *told
	ear   *hearer
	nodes map[string]*node

	mu       sync.Mutex
	hearings []hearing
	faults   []fault
	gate     chan struct{} // nil, or what a's requests wait for
	waiting  int           // of them
}

// hearing is a request of a receiver's.
type hearing struct {
	by, uid, contact, wamid string
	at                      time.Time
}

// fault is a receiver that ended or stopped with events that it had delivered, and
// not told the store of: those heard since a time, until it was over.
type fault struct {
	by           string
	since, until time.Time
}

func newShared(t *testing.T, env []string) *shared {
	s := &shared{t: t, env: env, told: newTold(t), ear: newHearer(t), nodes: map[string]*node{"a": {data: t.TempDir()}, "b": {data: t.TempDir()}}}
	s.ear.set(s.answer)
	s.start("a")
	s.start("b")
	s.balanced()
	return s
}

func (s *shared) start(name string) {
	as := &hearer{Server: s.ear.Server, more: "rate: none, headers: {X-Receiver: " + name + "}"}
	s.nodes[name].process.Store(serveWithEndpoints(s.t, s.nodes[name].data, "", map[string]*hearer{"crm": as}, s.env...))
}

// process is a receiver as it runs now.
func (s *shared) process(name string) *process { return s.nodes[name].process.Load() }

func (s *shared) answer(w http.ResponseWriter, r *http.Request, e received) bool {
	h := hearing{by: r.Header.Get("X-Receiver"), uid: e.UID, at: time.Now()}
	if e.Type == event.MessageNew {
		h.contact, _ = e.Payload["contact_id"].(string)
		h.wamid, _ = e.Payload["wamid"].(string)
	}
	s.mu.Lock()
	s.hearings = append(s.hearings, h)
	gate := s.gate
	if h.by == "a" && gate != nil {
		s.waiting++
	}
	s.mu.Unlock()
	if h.by == "a" && gate != nil {
		<-gate
	}
	return answers(http.StatusOK)(w, r, e)
}

// balanced waits until both have shares, and all have somebody.
func (s *shared) balanced() {
	s.t.Helper()
	s.process("a").eventually(45*time.Second, "both share the endpoint", func() error {
		a, b := s.shares("a"), s.shares("b")
		if a == 0 || b == 0 || a+b != 32 {
			return fmt.Errorf("%v and %v shares", a, b)
		}
		return nil
	})
}

func (s *shared) shares(name string) float64 {
	return s.process(name).number("spillway_deliver_shares")
}

// load has each receiver's customers write, until stop.
func (s *shared) load() (stop func()) {
	var ending atomic.Bool
	var senders sync.WaitGroup
	for i, name := range []string{"a", "b"} {
		senders.Go(func() {
			for n := 0; !ending.Load(); n++ {
				s.told.message(i*sharedCustomers+n%sharedCustomers, func() *process { return s.process(name) })
				time.Sleep(sharedPace)
			}
		})
	}
	return func() { ending.Store(true); senders.Wait() }
}

// stopWorking stops a while all its workers have requests under way, so that none is
// about to make one: what it makes when it goes on, it makes after it lost its leases.
// Events that it has read and not sent pile up before.
func (s *shared) stopWorking(workers int) {
	s.t.Helper()
	gate := make(chan struct{})
	since := time.Now().Add(-unsettled)
	s.mu.Lock()
	s.gate, s.waiting = gate, 0
	s.mu.Unlock()
	s.process("b").eventually(5*time.Second, "all workers have a request under way", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting != workers {
			return fmt.Errorf("%d of %d", s.waiting, workers)
		}
		return nil
	})
	time.Sleep(time.Second)
	s.process("a").freeze()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{"a", since, time.Now()})
	s.gate = nil
	close(gate)
}

// left is nil once b has delivered some of what a had not sent when it stopped. Of
// a's customers nothing new is in the store, since a stands still.
func (s *shared) left() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	stopped, n := s.faults[len(s.faults)-1].until, 0
	for _, h := range s.hearings {
		var customer int
		if _, err := fmt.Sscanf(h.wamid, "wamid.%d.", &customer); err == nil && customer < sharedCustomers && h.by == "b" && h.at.After(stopped.Add(time.Second)) {
			n++
		}
	}
	if n < 10 {
		return fmt.Errorf("%d events", n)
	}
	return nil
}

func (s *shared) signal(which syscall.Signal) {
	s.t.Helper()
	if err := s.process("a").cmd.Process.Signal(which); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends b with -9, and starts it again.
func (s *shared) kill() {
	s.t.Helper()
	since := time.Now().Add(-unsettled)
	s.process("b").kill()
	s.mu.Lock()
	s.faults = append(s.faults, fault{"b", since, time.Now()})
	s.mu.Unlock()
	s.start("b")
}

// excused reports whether an event that was heard before may be heard again.
func (s *shared) excused(before hearing) bool {
	for _, f := range s.faults {
		if before.by == f.by && before.at.After(f.since) && before.at.Before(f.until) {
			return true
		}
	}
	return false
}

// verify wants all to be heard, each contact's in order, and again only what a
// receiver with a fault had just delivered.
func (s *shared) verify() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	heard, last, again := make(map[string]hearing), make(map[string]int), 0
	for _, h := range s.hearings {
		if before, found := heard[h.uid]; found {
			if again++; !s.excused(before) {
				s.t.Errorf("%s was heard of %s at %s, and again of %s at %s", h.uid, before.by, before.at.Format(time.StampMilli), h.by, h.at.Format(time.StampMilli))
			}
			continue
		}
		heard[h.uid] = h
		if h.contact == "" {
			continue
		}
		var customer, n int
		if _, err := fmt.Sscanf(h.wamid, "wamid.%d.%d", &customer, &n); err != nil {
			s.t.Fatalf("%s: %v", h.wamid, err)
		}
		if n != last[h.contact]+1 {
			s.t.Errorf("message %d of customer %d was heard after %d", n, customer, last[h.contact])
		}
		last[h.contact] = n
	}
	s.t.Logf("%d events, %d times heard again", len(heard), again)
}

// TestEndpointShared: two receivers deliver to one endpoint. One stops for longer
// than its leases, and delivers nothing that the other has delivered meanwhile; the
// other is killed. Every event arrives, those of a contact in order.
func TestEndpointShared(t *testing.T) {
	if !full() {
		t.Skip("in make test-full: leases have to run out")
	}
	t.Parallel()
	const workers = 8 // concurrency of an endpoint
	s := newShared(t, single(startRedis(t, localredis.Options{})).env())
	for range 3 {
		stop := s.load()
		time.Sleep(2 * time.Second)
		s.stopWorking(workers)
		s.process("b").eventually(45*time.Second, "b has all shares", func() error {
			if n := s.shares("b"); n != 32 {
				return fmt.Errorf("%v", n)
			}
			return nil
		})
		s.process("b").eventually(10*time.Second, "b delivers what a has left", s.left)
		s.signal(syscall.SIGCONT)
		s.balanced()
		time.Sleep(time.Second)
		s.kill()
		s.balanced()
		stop()
		s.process("a").eventually(time.Minute, "all is heard", func() error { return s.ear.lacks(s.told.uids()) })
	}
	s.verify()
}
