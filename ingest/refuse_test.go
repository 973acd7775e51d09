package ingest

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestRequestID wants every 503 to carry an id of its own, which is in the line
// that says why, and nothing of what a sender calls its request.
func TestRequestID(t *testing.T) {
	const theirs = "5e1f5e1f-their-own"
	request := strings.Replace(signed("x"), "Host: x\r\n", "Host: x\r\nX-Request-Id: "+theirs+"\r\ntraceparent: "+theirs+"\r\n", 1)
	h := start(t, nil)
	seen := make(map[string]bool)
	wantLine := func(level, message string, request string) {
		t.Helper()
		id := h.dial().send(request).want(503).Header.Get(requestID)
		if uuid.Validate(id) != nil || seen[id] {
			t.Errorf("%s: the id %q, want a new one", message, id)
		}
		seen[id] = true
		for line := range strings.Lines(h.logs.String()) {
			if strings.Contains(line, requestIDKey+"="+id) {
				if !strings.Contains(line, "level="+level) || !strings.Contains(line, message) {
					t.Errorf("logged %s, want %s and %q", line, level, message)
				}
				return
			}
		}
		t.Errorf("%s: no line with %s", message, id)
	}
	h.shelf.set(errors.New("disk full"), nil)
	wantLine("ERROR", "the log takes none", request)
	wantLine("ERROR", "disk full", request)
	h.shelf.set(nil, nil)
	h.dial().send(request).want(200)
	h.buffers.inFlight.Add(h.cfg.MaxInFlight)
	wantLine("WARN", "limits.in_flight", request)
	h.buffers.inFlight.Add(-h.cfg.MaxInFlight)
	wantLine("ERROR", "broke off", "GET /ws?mode=panic HTTP/1.1\r\nHost: x\r\n\r\n")
	h.stopping.Store(true)
	wantLine("INFO", "shutting down", request)
	h.stopping.Store(false)
	if strings.Contains(h.logs.String(), theirs) {
		t.Error("the log holds what the sender calls its request")
	}
}

// TestResume wants one line once no webhook was refused for a while, however
// many are taken in between.
func TestResume(t *testing.T) {
	var out strings.Builder
	s := &Server{logger: slog.New(slog.NewTextHandler(&out, nil))}
	lines := func() int { return strings.Count(out.String(), "taken again") }
	now := time.Now()
	s.resume(now) // nothing was refused yet
	s.refused.Store(now.Unix())
	s.resume(now)
	s.resume(now.Add((quietSeconds - 1) * time.Second))
	if lines() != 0 {
		t.Errorf("said too early:\n%s", &out)
	}
	for i := range 3 {
		s.resume(now.Add(time.Duration(quietSeconds+i) * time.Second))
	}
	if lines() != 1 {
		t.Errorf("%d lines, want one:\n%s", lines(), &out)
	}
}
