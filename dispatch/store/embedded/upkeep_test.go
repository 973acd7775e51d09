package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spillway/dispatch/store"
)

// TestWindowStays opens a store with another window: beside its receiver that is
// not followed, and where it is the receiver's own it is said.
func TestWindowStays(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.Window = 2 * time.Hour
	s := mustOpen(t, cfg)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	beside := cfg
	beside.Window, beside.NoExpiry = maxWindow, true
	s = mustOpen(t, beside)
	if s.Window() != cfg.Window {
		t.Errorf("window %s", s.Window())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	var logs bytes.Buffer
	own := cfg
	own.Window = maxWindow
	for range 2 { // said once
		s, err := Open(own, slog.New(slog.NewTextHandler(&logs, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Count(logs.String(), "dedupe.window has changed") != 1 || !strings.Contains(logs.String(), "was=2h0m0s") {
		t.Errorf("log: %s", logs.String())
	}
}

// TestNoExpiry opens a store with settings that would let everything go: what was
// seen, who wrote and what was streamed stays, while NoExpiry is set.
func TestNoExpiry(t *testing.T) {
	own := testConfig(vfs.NewMem())
	own.Window = maxWindow
	s := mustOpen(t, own)
	person := claimedMessage(t, s, "wamid.1", "49", "")
	applyTo(t, s, 1, 1, person)
	batch := plainBatch(2, 0, 1, 100)
	if _, err := s.Apply(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	held, _ := s.places.size()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	other := own
	other.NoExpiry, other.Window, other.ContactTTL, other.Retain, other.RetainBytes = true, minWindow, minContactTTL, 1, 1
	other.Now = func() time.Time { return time.Now().Add(maxWindow - day) }
	s = mustOpen(t, other)
	if _, err := s.Apply(t.Context(), plainBatch(2, 1, 2, 1)); err != nil { // which would trim
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = mustOpen(t, own)
	if now, _ := s.places.size(); now != held+1 {
		t.Errorf("%d events are held, want %d", now, held+1)
	}
	if _, err := s.Contact(t.Context(), "1", "49"); err != nil {
		t.Errorf("the contact went: %v", err)
	}
	batch.Mode = store.Again
	result, err := s.Apply(t.Context(), batch)
	for i, outcome := range result.Outcomes {
		if err != nil || outcome != store.Duplicate {
			t.Fatalf("event %d: outcome %d, %v", i, outcome, err)
		}
	}
}
