package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/bench/ack"
	"spillway/bench/load"
	"spillway/bench/peers/loss"
	"spillway/bench/peers/peer"
)

// startPeer starts one of peer.All. Where its server is not installed the long
// tests fail; the Makefile says that the short ones do not test it.
func startPeer(t *testing.T, p peer.Peer) *peer.Running {
	t.Helper()
	if err := p.Missing(); err != nil {
		if os.Getenv("SPILLWAY_TEST_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	programs := programs(t)
	r, err := p.Start(context.Background(), programs, filepath.Join(dataFolder(t), p.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// post gives the status of one webhook.
func post(t *testing.T, r *peer.Running, body, secret string) int {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	request, err := http.NewRequest(http.MethodPost, "http://"+r.Public()+"/api/webhook", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestKept: each peer gives back after a kill -9 what it acked, all of it, and no
// more than that.
func TestKept(t *testing.T) {
	for _, p := range peer.All {
		if !p.Keeps() {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			r := startPeer(t, p)
			const webhooks = 20
			wamid := func(i int) string { return fmt.Sprintf("wamid.of-webhook-%d.", i) }
			for i := range webhooks {
				body := fmt.Sprintf(`{"entry":[{"changes":[{"value":{"statuses":[{"id":%q}]}}]}]}`, wamid(i))
				if status := post(t, r, body, ack.Secret); status != http.StatusOK {
					t.Fatalf("answered %d", status)
				}
				if status := post(t, r, body+" ", "another secret"); status != http.StatusForbidden {
					t.Fatalf("one with a wrong signature is answered %d", status)
				}
			}
			if p.Name == "memory" { // and its worker has had time
				time.Sleep(200 * time.Millisecond)
			}
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := r.Restart(context.Background()); err != nil {
				t.Fatal(err)
			}
			found, all := map[int]int{}, 0
			err := r.Kept(context.Background(), func(webhook []byte) {
				all++
				for i := range webhooks {
					if bytes.Contains(webhook, []byte(wamid(i))) {
						found[i]++
					}
				}
			})
			if err != nil || all != webhooks || len(found) != webhooks {
				t.Errorf("%d webhooks, of them %d that were acked: %v, %v", all, len(found), found, err)
			}
		})
	}
}

// TestLoss: killed under load, the peers that say so lose nothing, the one in
// memory loses what its worker had not come to, and all go on afterwards.
func TestLoss(t *testing.T) {
	for _, p := range peer.All {
		if !p.Keeps() {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			r := startPeer(t, p)
			cfg := loss.Config{Body: 600, Connections: 32, Duration: 500 * time.Millisecond}
			if p.Name == "memory" {
				cfg.Body = 20 << 10 // which takes longer to decode than to ack
			}
			found, err := loss.Measure(context.Background(), cfg, r)
			if err != nil || found.Acked == 0 || (found.Lost > 0) != (p.Name == "memory") {
				t.Errorf("%+v, %v", found, err)
			}
			campaign, err := load.NewCampaign(600, ack.Secret, r.Public())
			if err != nil {
				t.Fatal(err)
			}
			if err := load.Closed(context.Background(), campaign, r.Public(), 4, 0, 100*time.Millisecond).Clean(); err != nil {
				t.Errorf("started again, it takes none: %v", err)
			}
		})
	}
}

// TestLossIsFound: webhooks that were acked and are gone are counted.
func TestLossIsFound(t *testing.T) {
	p, _ := peer.ByName("nethttp-fsync")
	r := startPeer(t, p)
	emptied := &emptying{Running: r}
	const connections = 4 // each may have one that is kept and was not acked
	found, err := loss.Measure(context.Background(), loss.Config{Body: 600, Connections: connections, Duration: 300 * time.Millisecond}, emptied)
	if gone := found.Acked - emptied.left; err != nil || emptied.left == 0 || found.Lost < gone || found.Lost > gone+connections {
		t.Errorf("%+v of which %d are left, %v", found, emptied.left, err)
	}
}

// emptying gives back every second webhook.
type emptying struct {
	*peer.Running
	left int
}

func (e *emptying) Kept(ctx context.Context, each func([]byte)) error {
	n := 0
	return e.Running.Kept(ctx, func(webhook []byte) {
		if n++; n%2 == 0 {
			e.left++
			each(webhook)
		}
	})
}
