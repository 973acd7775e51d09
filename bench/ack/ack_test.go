package ack

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMeasureFails: a receiver that refuses webhooks is not followed any longer
// than it is measured.
func TestMeasureFails(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	address := strings.TrimPrefix(server.URL, "http://")
	target := &Target{Public: address, Admin: address, PID: os.Getpid(), Dispatches: true}
	cfg := Config{Secret: testSecret, Duration: 20 * time.Millisecond}
	if _, err := measure(context.Background(), cfg, target, 600, 1); err == nil || err.Error() != "webhooks were refused" {
		t.Errorf("measured, %v", err)
	}
	client.CloseIdleConnections()
	server.Close()
	goleak.VerifyNone(t, before)
}

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for want, kinds := range map[string][]string{
		"kinds: one at least":       {},
		`kind "fille": allowed are`: {Ceiling, "fille"},
		`kind "serve": named twice`: {Serve, File, Serve},
	} {
		cfg := DefaultConfig()
		cfg.Kinds = kinds
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kinds %v: %v, want %s", kinds, err, want)
		}
	}
}
