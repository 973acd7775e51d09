package redis

import (
	"strings"
	"testing"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

// TestRefusedConnections: a server that lets nobody in any more has not been
// emptied, nor does it hold nothing new.
func TestRefusedConnections(t *testing.T) {
	server := startServer(t, localredis.Options{Password: "before"})
	cfg := testConfig(server.Addr())
	cfg.Password = "before"
	s := mustOpen(t, cfg)
	client := server.Client()
	defer func() { _ = client.Close() }()
	if err := client.ConfigSet(t.Context(), "requirepass", "after").Err(); err != nil {
		t.Fatal(err)
	}
	look := store.Claim{Customer: &event.Customer{WABA: "1", WaID: "2"}}
	for name, call := range map[string]func() error{
		"cursors": func() error { _, err := s.Cursors(t.Context(), store.Source{Node: "n", Lane: "bulk"}); return err },
		"claim":   func() error { _, err := s.Claim(t.Context(), []store.Claim{look}); return err },
		"bounds":  func() error { _, _, err := s.Bounds(t.Context()); return err },
		"read":    func() error { _, err := s.Read(t.Context(), 0, store.Place{}, 10, 1<<20); return err },
	} {
		if err := client.ClientKillByFilter(t.Context(), "TYPE", "normal").Err(); err != nil {
			t.Fatal(err)
		}
		if err := call(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
