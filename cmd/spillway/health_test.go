package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHealth asks a real receiver by each way that names its admin listener,
// then one that is stopped, and then nobody.
func TestHealth(t *testing.T) {
	without(t)
	p := start(t, t.TempDir())
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(file, []byte("admin: "+p.admin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ways := map[string][]string{
		"flag":     {"health", "--admin", p.admin},
		"URL":      {"health", "--admin", "http://" + p.admin},
		"file":     {"health", "--config", file},
		"variable": {"health"},
	}
	for name, args := range ways {
		if name == "variable" {
			t.Setenv("SPILLWAY_ADMIN", strings.Replace(p.admin, "127.0.0.1", "0.0.0.0", 1))
		}
		for question, want := range map[string]string{"": "ok\n", "--ready": "ready\n"} {
			got := spillway(t, "", append(args, strings.Fields(question)...)...)
			if got != (outcome{exitOK, want, ""}) {
				t.Errorf("%s %s: got %+v", name, question, got)
			}
		}
		t.Setenv("SPILLWAY_ADMIN", "")
	}

	p.freeze()
	began := time.Now()
	got := spillway(t, "", "health", "--admin", p.admin)
	if want := (outcome{exitFailure, "", "spillway: " + p.admin + " has not answered within 3s\n"}); got != want {
		t.Errorf("stopped: got %+v, want %+v", got, want)
	}
	if took := time.Since(began); took > healthTimeout+time.Second {
		t.Errorf("stopped: it took %s", took)
	}
	p.kill()
	got = spillway(t, "", "health", "--admin", p.admin)
	if want := (outcome{exitFailure, "", "spillway: nothing listens at " + p.admin + ": connection refused\n"}); got != want {
		t.Errorf("ended: got %+v, want %+v", got, want)
	}
}

// TestHealthRefuses takes no other answer for a yes.
func TestHealthRefuses(t *testing.T) {
	without(t)
	page := func(status int, text string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}))
		t.Cleanup(server.Close)
		return server
	}
	full, other, web := page(503, "the log is full\n"), page(404, "not found"), page(200, "<html>")
	tests := []struct {
		name   string
		server *httptest.Server
		args   []string
		want   string
	}{
		{"not ready", full, []string{"--ready"}, "HOST is not ready: the log is full"},
		{"healthz never says so", full, nil, "what listens at HOST is not the admin listener of Spillway: it answers 503"},
		{"another program", other, nil, "what listens at HOST is not the admin listener of Spillway: it answers 404"},
		{"a web page", web, []string{"--ready"}, "what listens at HOST is not the admin listener of Spillway: it answers 200"},
	}
	for _, test := range tests {
		host := strings.TrimPrefix(test.server.URL, "http://")
		got := spillway(t, "", append([]string{"health", "--admin", host}, test.args...)...)
		want := outcome{exitFailure, "", "spillway: " + strings.Replace(test.want, "HOST", host, 1) + "\n"}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, want)
		}
	}
}
