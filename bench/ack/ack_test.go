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
	target := &Target{Public: address, Admin: address, PID: os.Getpid()}
	cfg := Config{Secret: testSecret, Duration: 20 * time.Millisecond}
	if _, err := measure(context.Background(), cfg, target, Serve, 600, 1); err == nil || err.Error() != "webhooks were refused" {
		t.Errorf("measured, %v", err)
	}
	client.CloseIdleConnections()
	server.Close()
	goleak.VerifyNone(t, before)
}
