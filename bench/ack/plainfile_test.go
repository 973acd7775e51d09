package ack

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"spillway/bench/load"
	"spillway/ingest"
)

const testSecret = "a secret of the tests"

// TestMain ignores the clock behind the Date header, which is the library's and
// never ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

func newTestFile(t *testing.T, reg prometheus.Registerer) (*PlainFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webhooks")
	p, err := NewPlainFile(path, reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, path
}

// bodiesIn reads a plain file back, and gives how often each body is in it.
func bodiesIn(t *testing.T, path string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(map[string]int)
	for len(data) > 0 {
		if len(data) < 4+32 {
			t.Fatalf("%d bytes at the end", len(data))
		}
		length := int(binary.BigEndian.Uint32(data))
		signature, rest := data[4:36], data[36:]
		if len(rest) < length {
			t.Fatalf("a body of %d bytes has %d", length, len(rest))
		}
		if want := fmt.Sprintf("sha256=%x", signature); ingest.Sign(testSecret, rest[:length]) != want {
			t.Errorf("a body with the signature of another")
		}
		bodies[string(rest[:length])]++
		data = rest[length:]
	}
	return bodies
}

func webhook(t *testing.T, body string) *ingest.Webhook {
	t.Helper()
	signature, err := hex.DecodeString(strings.TrimPrefix(ingest.Sign(testSecret, []byte(body)), "sha256="))
	if err != nil {
		t.Fatal(err)
	}
	return &ingest.Webhook{Received: time.Now(), App: "default", Signature: signature, Body: []byte(body)}
}

// TestPlainFile: what many append at once is all in the file, each once.
func TestPlainFile(t *testing.T) {
	const writers, each = 32, 50
	reg := prometheus.NewRegistry()
	p, path := newTestFile(t, reg)
	if err := p.Ready(); err != nil {
		t.Error(err)
	}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if err := p.Append(webhook(t, fmt.Sprintf("webhook %d of %d", i, w))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	bodies := bodiesIn(t, path) // before Close: what is acked is written
	if len(bodies) != writers*each {
		t.Errorf("%d bodies, want %d", len(bodies), writers*each)
	}
	for body, n := range bodies {
		if n != 1 {
			t.Errorf("%q is there %d times", body, n)
		}
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != batchRecords {
		t.Fatalf("metrics %v, %v", families, err)
	}
	groups := families[0].GetMetric()[0].GetHistogram()
	if groups.GetSampleSum() != writers*each || groups.GetSampleCount() == 0 || groups.GetSampleCount() > writers*each {
		t.Errorf("%v records in %d syncs", groups.GetSampleSum(), groups.GetSampleCount())
	}
}

func TestPlainFileClosed(t *testing.T) {
	p, path := newTestFile(t, prometheus.NewRegistry())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Append(webhook(t, "late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append to a closed file: %v", err)
	}
	if _, err := NewPlainFile(path, prometheus.NewRegistry()); !errors.Is(err, os.ErrExist) {
		t.Errorf("made a file that was there: %v", err)
	}
}

// TestPlainFileFails: no webhook is acked whose sync failed.
func TestPlainFileFails(t *testing.T) {
	p, _ := newTestFile(t, prometheus.NewRegistry())
	if err := p.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Append(webhook(t, "lost")); err == nil {
		t.Error("acked")
	}
}

// TestTargets puts the generator's webhooks through the real listener: all are
// taken, so that what it signs is what is checked, and all are kept.
func TestTargets(t *testing.T) {
	file, path := newTestFile(t, prometheus.NewRegistry())
	server := startRedis(t)
	stream := newTestStream(t, server, prometheus.NewRegistry())
	other := startRedis(t)
	adder := NewAdder(other.Addr(), 0)
	t.Cleanup(func() { _ = adder.Close() })
	for name, target := range map[string]struct {
		log    ingest.Log
		bodies func() map[string]int
	}{
		Ceiling:     {log: NoLog{}},
		File:        {file, func() map[string]int { return bodiesIn(t, path) }},
		XADD:        {adder, func() map[string]int { return bodiesOf(t, other) }},
		GroupedXADD: {stream, func() map[string]int { return bodiesOf(t, server) }},
	} {
		acked := ackedBy(t, name, target.log)
		if acked == 0 {
			t.Errorf("%s took nothing", name)
		}
		if target.bodies == nil {
			continue
		}
		if bodies := target.bodies(); len(bodies) < acked {
			t.Errorf("%s: %d bodies are kept, %d were acked", name, len(bodies), acked)
		}
	}
}

// ackedBy is how many webhooks a listener over the log takes in a moment.
func ackedBy(t *testing.T, name string, log ingest.Log) int {
	t.Helper()
	cfg := ingest.DefaultConfig()
	cfg.Listen, cfg.MaxConnections, cfg.ExtraFiles = "127.0.0.1:0", 100, 0
	cfg.Apps = []ingest.App{{Name: "default", VerifyToken: "token", Secrets: []string{testSecret}}}
	server, err := ingest.New(cfg, log, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	address := server.Addr().String()
	campaign, err := load.NewCampaign(600, testSecret, address)
	if err != nil {
		t.Fatal(err)
	}
	r := load.Closed(context.Background(), campaign, address, 8, 0, 200*time.Millisecond)
	if err := errors.Join(r.Clean(), server.Shutdown(context.Background()), <-served); err != nil {
		t.Errorf("%s: %v; %s", name, err, r)
	}
	return int(r.Answers[200])
}
