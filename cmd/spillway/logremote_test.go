package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spillway/wal"
)

// TestRemoteLogIsSilent has a receiver that accepts and does not answer, as one
// that was stopped does, or ends in the middle of an answer: whoever reads is told
// which one it is. What runs the log again may take longer.
func TestRemoteLogIsSilent(t *testing.T) {
	const patience = 100 * time.Millisecond
	var begin atomic.Value // what an answer begins with
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if r.Method == http.MethodPost {
			time.Sleep(3 * patience)
			_, _ = io.WriteString(w, `{"end":true}`)
			return
		}
		if text := begin.Load().(string); text != "" {
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	remote, err := newRemoteLog(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	remote.patience = patience
	name := deadName{Lane: wal.Bulk, Seq: 1}
	for _, text := range []string{"", `{"letter":{}}` + "\n" + `{"lane":"bu`} {
		begin.Store(text)
		for what, ask := range map[string]func(context.Context) error{
			"stat":    func(ctx context.Context) error { _, err := remote.Stat(ctx); return err },
			"letter":  func(ctx context.Context) error { _, err := remote.DeadLetter(ctx, name); return err },
			"letters": func(ctx context.Context) error { return remote.Dead(ctx, func(deadEntry) error { return nil }) },
			"records": func(ctx context.Context) error {
				return remote.Records(ctx, recordQuery{Lanes: wal.Lanes[:]}, func(logEntry) error { return nil })
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			err := ask(ctx)
			cancel()
			if text != "" && (what == "stat" || what == "letter") { // they have their one value
				continue
			}
			if want := fmt.Sprintf("the admin listener at %s has said nothing for %s", remote.base.Host, patience); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: got %v", what, err)
			}
		}
	}
	if _, err := remote.Replay(t.Context(), replayQuery{Lane: wal.Bulk}, nil); err != nil {
		t.Errorf("replay: %v", err)
	}
	if _, err := remote.Retry(t.Context(), name, false); err != nil {
		t.Errorf("retry: %v", err)
	}
}
