package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/dispatch/event"
)

// told is what customers have written to receivers: the events that endpoints have
// to hear of.
type told struct {
	t testing.TB

	mu     sync.Mutex
	posted map[string]time.Time // by uid
	wrote  map[int]int          // messages by customer
}

func newTold(t testing.TB) *told {
	return &told{t: t, posted: make(map[string]time.Time), wrote: make(map[int]int)}
}

// message has a customer write the next message, which is posted until it is acked,
// to what current gives.
func (m *told) message(customer int, current func() *process) {
	number := fmt.Sprint(15550001000 + customer)
	m.mu.Lock()
	m.wrote[customer]++
	wamid, first := fmt.Sprintf("wamid.%d.%d", customer, m.wrote[customer]), m.wrote[customer] == 1
	m.posted[event.UID(event.MessageNew, wamid).String()] = time.Now()
	if first {
		birth := event.ContactIdentity(event.ContactID("102", number), wamid)
		m.posted[event.UID(event.ContactNew, birth).String()] = time.Now()
	}
	m.mu.Unlock()
	body := messageWebhook(wamid, number, "hello")
	for deadline := time.Now().Add(time.Minute); current().post(body) != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Errorf("%s is not acked within a minute", wamid)
			return
		}
	}
}

// messages has customers write by turns, at a pace, and gives the uids that are new.
func (m *told) messages(p *process, count, customers int, pace time.Duration) []string {
	before := m.uids()
	for i := range count {
		m.message(i%customers, func() *process { return p })
		time.Sleep(pace)
	}
	return slices.DeleteFunc(m.uids(), func(uid string) bool { return slices.Contains(before, uid) })
}

func (m *told) uids() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.posted))
}

// lacks is nil once a hearer has heard of all of uids.
func (h *hearer) lacks(uids []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	missing := 0
	for _, uid := range uids {
		if h.heard[uid] == 0 {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d events are missing", missing, len(uids))
	}
	return nil
}

// delays are the times from the post of events until a hearer had them, sorted.
func (m *told) delays(h *hearer, uids []string) []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	var delays []time.Duration
	for _, uid := range uids {
		delays = append(delays, h.first[uid].Sub(m.posted[uid]))
	}
	slices.Sort(delays)
	return delays
}

// slow answers after a while.
func slow(w http.ResponseWriter, r *http.Request, e received) bool {
	time.Sleep(100 * time.Millisecond)
	return answers(http.StatusOK)(w, r, e)
}

// holder asks for a second's rest with its first answers.
type holder struct {
	mu   sync.Mutex
	came []time.Time
}

// held is how many get 429: more than come at once, and less than the breaker takes
// for long.
const held = 12

func (o *holder) answer(w http.ResponseWriter, r *http.Request, e received) bool {
	o.mu.Lock()
	o.came = append(o.came, time.Now())
	n := len(o.came)
	o.mu.Unlock()
	if n > held {
		return answers(http.StatusOK)(w, r, e)
	}
	w.Header().Set("Retry-After", "1")
	return answers(http.StatusTooManyRequests)(w, r, e)
}

// verify wants the rest to have been kept: of workers + 1 requests two are of the
// same worker, the second of which had an answer to the first.
func (o *holder) verify(t *testing.T, workers int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if rest := o.came[workers].Sub(o.came[0]); rest < time.Second {
		t.Errorf("%d requests came within %s, though each was asked to wait a second", workers+1, rest)
	}
}

// hanging never answers for a time from the first request on.
func hanging(ill time.Duration) answerer {
	var once sync.Once
	var until time.Time
	return func(w http.ResponseWriter, r *http.Request, e received) bool {
		once.Do(func() { until = time.Now().Add(ill) })
		if time.Now().Before(until) {
			<-r.Context().Done()
			return false
		}
		return answers(http.StatusOK)(w, r, e)
	}
}

// cutting closes the connection half-way through the answer's header, or resets it:
// for the first requests, and one time in four from then on.
func cutting() answerer {
	const first = 12
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, e received) bool {
		i := n.Add(1)
		if i > first && i%4 != 0 {
			return answers(http.StatusOK)(w, r, e)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return false
		}
		defer conn.Close()
		if tcp, ok := conn.(*net.TCPConn); ok && i%8 < 4 {
			_ = tcp.SetLinger(0)
			return false
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
		return false
	}
}

// huge answers 200 with 1 GiB, as far as anybody reads it.
func huge(w http.ResponseWriter, _ *http.Request, _ received) bool {
	const size = 1 << 30
	w.Header().Set("Content-Length", fmt.Sprint(size))
	piece := make([]byte, 64<<10)
	for sent := 0; sent < size; sent += len(piece) {
		if _, err := w.Write(piece); err != nil {
			break
		}
	}
	return true
}

// TestSickEndpoints: each endpoint hears of every event in the end, whatever it
// suffers from, and the one that is well does not notice those beside it.
func TestSickEndpoints(t *testing.T) {
	storesOf(t, func(t *testing.T, env []string) {
		t.Parallel()
		const customers, pace, workers = 40, 25 * time.Millisecond, 8 // concurrency of an endpoint
		messages := rounds(100, 1000)
		well, file, m := newHearer(t), filepath.Join(t.TempDir(), "spillway.yaml"), newTold(t)
		writeEndpoints(t, file, map[string]*hearer{"healthy": well}, "")
		p := serveFile(t, t.TempDir(), file, env...)
		p.eventually(time.Minute, "all shares are leased", func() error { return delivers(p, 1) })
		alone := m.messages(p, messages, customers, pace)
		p.eventually(time.Minute, "the healthy one has all", func() error { return well.lacks(alone) })

		var hold holder
		sick := map[string]*hearer{}
		for name, answer := range map[string]answerer{
			"slow": slow, "limps": limping(), "held": hold.answer, "hangs": hanging(3 * time.Second), "cut": cutting(), "huge": huge,
		} {
			sick[name] = newHearer(t)
			sick[name].set(answer)
		}
		sick["hangs"].more += ", timeout: 1s"
		all := maps.Clone(sick)
		all["healthy"] = well
		writeEndpoints(t, file, all, "")
		p.reload("reloaded")
		p.eventually(time.Minute, "all shares are leased", func() error { return delivers(p, len(all)) })
		before := p.residentBytes()
		beside := m.messages(p, messages, customers, pace)
		p.eventually(time.Minute, "the healthy one has all", func() error { return well.lacks(beside) })
		most := p.residentBytes()
		for name, h := range sick {
			p.eventually(5*time.Minute, name+" has all", func() error {
				most = max(most, p.residentBytes())
				return h.lacks(beside)
			})
		}

		hold.verify(t, workers)
		without, with := m.delays(well, alone), m.delays(well, beside)
		t.Logf("post to heard, healthy endpoint: p50 %s, p99 %s alone; p50 %s, p99 %s beside %d sick ones",
			without[len(without)/2], without[len(without)*99/100], with[len(with)/2], with[len(with)*99/100], len(sick))
		if last := with[len(with)-1]; last > 5*time.Second {
			t.Errorf("the healthy endpoint heard of an event after %s", last)
		}
		t.Logf("%d MiB resident before the sick ones, %d at most", before>>20, most>>20)
		if most > before+128<<20 {
			t.Errorf("%d MiB resident, from %d before the sick ones", most>>20, before>>20)
		}
	})
}
