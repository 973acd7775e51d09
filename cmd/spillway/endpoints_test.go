package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// hearer is an endpoint of a user's.
type hearer struct {
	*httptest.Server
	// more is what its config says beside name, URL and secrets.
	more string

	mu     sync.Mutex
	answer answerer
	heard  map[string]int       // by uid, those answered 200
	first  map[string]time.Time // when each was first
}

// answerer answers a delivery, and reports whether it did so with 200.
type answerer func(w http.ResponseWriter, r *http.Request, e received) bool

// answers has each delivery answered with a status.
func answers(code int) answerer {
	return func(w http.ResponseWriter, _ *http.Request, _ received) bool {
		w.WriteHeader(code)
		return code == http.StatusOK
	}
}

func newHearer(t *testing.T) *hearer {
	t.Helper()
	h := &hearer{more: "rate: none", answer: answers(http.StatusOK), heard: make(map[string]int), first: make(map[string]time.Time)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e received
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Header.Get("webhook-id") != e.UID {
			// A receiver that is killed may be cut short.
			if r.Context().Err() == nil {
				t.Errorf("told of no event, or of another: %v", err)
			}
			return
		}
		if h.now()(w, r, e) {
			h.note(e.UID)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hearer) now() answerer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answer
}

func (h *hearer) note(uid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heard[uid]++; h.heard[uid] == 1 {
		h.first[uid] = time.Now()
	}
}

func (h *hearer) set(answer answerer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *hearer) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.heard)
}

// writeEndpoints writes a config of endpoints; rest is what else it says.
func writeEndpoints(t *testing.T, file string, hearers map[string]*hearer, rest string) {
	t.Helper()
	text := "endpoints:\n"
	for name, h := range hearers {
		key := sha256.Sum256([]byte(name))
		text += fmt.Sprintf("  - {name: %s, url: %q, secrets: [whsec_%s], %s}\n", name, h.URL, base64.StdEncoding.EncodeToString(key[:]), h.more)
	}
	if err := os.WriteFile(file, []byte(text+rest), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serveWithEndpoints starts a receiver that delivers.
func serveWithEndpoints(t *testing.T, data, rest string, hearers map[string]*hearer, env ...string) *process {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	writeEndpoints(t, file, hearers, rest)
	return serveFile(t, data, file, env...)
}

// serveFile starts a receiver with a config, and with --dev since the endpoints are
// on loopback.
func serveFile(t *testing.T, data, file string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(buildBinary(t), "serve", "--log-format", "json", "--dev", "--config", file)
	cmd.Env = append(serveEnv(data), env...)
	p := launchCommand(t, cmd)
	p.waitReady()
	return p
}

// storesOf runs a test with both stores; env points receivers at the store, and is
// the same for all of one run.
func storesOf(t *testing.T, test func(t *testing.T, env []string)) {
	t.Run("embedded", func(t *testing.T) { test(t, nil) })
	t.Run("redis", func(t *testing.T) { test(t, single(startRedis(t, localredis.Options{})).env()) })
}

// TestEndpointsHear: an endpoint that is down for the whole load, through kill -9 of
// the receiver, hears of every event in the end, and the others do not notice.
func TestEndpointsHear(t *testing.T) {
	storesOf(t, func(t *testing.T, env []string) {
		t.Parallel()
		data := t.TempDir()
		hearers := map[string]*hearer{"down": newHearer(t), "well": newHearer(t), "limps": newHearer(t)}
		hearers["down"].set(answers(http.StatusBadGateway))
		hearers["limps"].set(limping())
		p := serveWithEndpoints(t, data, "", hearers, env...)
		p.eventually(time.Minute, "all shares are leased", func() error { return delivers(p, len(hearers)) })
		const messages, customers = 300, 150
		for i := range messages {
			if code := p.post(messageWebhook(fmt.Sprintf("wamid.%d", i), fmt.Sprint(15550001000+i%customers), "hello")); code != 200 {
				t.Fatalf("answered %d", code)
			}
			if i == messages/2 {
				p.kill()
				p = serveWithEndpoints(t, data, "", hearers, env...)
			}
		}
		events := messages + customers // each is a new contact
		p.eventually(2*time.Minute, "the one that is well has all", func() error { return heardAll(hearers["well"], events) })
		p.eventually(2*time.Minute, "the one that limps has all", func() error { return heardAll(hearers["limps"], events) })
		hearers["down"].set(answers(http.StatusOK))
		p.eventually(2*time.Minute, "the one that was down has all", func() error { return heardAll(hearers["down"], events) })
	})
}

func heardAll(h *hearer, want int) error {
	if got := h.count(); got != want {
		return fmt.Errorf("%d of %d events", got, want)
	}
	return nil
}

// limping answers 500 one time in three.
func limping() answerer {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, e received) bool {
		if n.Add(1)%3 == 0 {
			return answers(http.StatusInternalServerError)(w, r, e)
		}
		return answers(http.StatusOK)(w, r, e)
	}
}

// delivers is nil once a receiver has all shares of its endpoints.
func delivers(p *process, endpoints int) error {
	if got := p.number("spillway_deliver_shares"); got != float64(32*endpoints) {
		return fmt.Errorf("%v shares", got)
	}
	return nil
}
