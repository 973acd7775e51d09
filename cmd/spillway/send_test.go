package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"spillway/cmd/spillway/config"
)

func decodeLine(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}

func decodeLines[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var one T
		decodeLine(t, line, &one)
		all = append(all, one)
	}
	return all
}

// fakeReceiver answers as the receiver does, with one secret and one token.
type fakeReceiver struct {
	secret, token string
	mu            sync.Mutex
	bodies        []string
}

func startFakeReceiver(t *testing.T) (*fakeReceiver, string) {
	t.Helper()
	f := &fakeReceiver{secret: "secret & co", token: "token+1"}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL
}

func (f *fakeReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/webhook" {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet {
		query := r.URL.Query()
		if query.Get("hub.mode") != "subscribe" || query.Get("hub.verify_token") != f.token {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, query.Get("hub.challenge"))
		return
	}
	body, _ := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte(f.secret))
	mac.Write(body)
	if r.Header.Get("X-Hub-Signature-256") != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bodies = append(f.bodies, string(body))
}

func (f *fakeReceiver) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.bodies)
}

func TestSendFilesFoldersAndStdin(t *testing.T) {
	without(t)
	receiver, url := startFakeReceiver(t)
	folder := t.TempDir()
	for name, text := range map[string]string{"b.json": "B\n", "a.json": "A", "sub/c.json": "C \x00\xff", "skip.txt": "X"} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := spillway(t, "S", "send", "--url", url, "--app-secret", receiver.secret, "--repeat", "2",
		filepath.Join(folder, "b.json"), folder, "-")
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("got %+v", got)
	}
	once := []string{"B\n", "A", "B\n", "C \x00\xff", "S"}
	if want := slices.Concat(once, once); !slices.Equal(receiver.taken(), want) {
		t.Errorf("taken %q, want %q", receiver.taken(), want)
	}
	lines := decodeLines[sendLine](t, got.stdout)
	if len(lines) != 10 || lines[4].File != "-" || lines[1].File != filepath.Join(folder, "a.json") {
		t.Errorf("printed %+v", lines)
	}
	for _, line := range lines {
		if line.Status != 200 || line.Seconds <= 0 {
			t.Errorf("printed %+v", line)
		}
	}
}

func TestSendSamples(t *testing.T) {
	without(t)
	receiver, url := startFakeReceiver(t)
	args := []string{"send", "--url", url, "--app-secret", receiver.secret, "--repeat", "2"}
	for _, name := range sampleNames {
		args = append(args, "--sample", name)
	}
	if got := spillway(t, "", args...); got.code != exitOK || strings.Count(got.stdout, "\n") != 6 {
		t.Fatalf("got %+v", got)
	}
	ids := map[string]bool{}
	for _, body := range receiver.taken() {
		var webhook struct {
			Entry []struct {
				Changes []struct {
					Field string
					Value struct {
						Messages, Statuses []struct{ ID, Type, Status, Timestamp string }
					}
				}
			}
		}
		decodeLine(t, body, &webhook)
		change := webhook.Entry[0].Changes[0]
		items := slices.Concat(change.Value.Messages, change.Value.Statuses)
		if change.Field != "messages" || len(items) != 1 || !strings.HasPrefix(items[0].ID, "wamid.") || items[0].Timestamp == "" {
			t.Fatalf("not a webhook of Meta's: %s", body)
		}
		ids[items[0].ID] = true
	}
	if len(ids) != 6 {
		t.Errorf("%d different ids in 6 webhooks", len(ids))
	}
}

func TestSendPrint(t *testing.T) {
	without(t)
	got := spillway(t, `{"from":"stdin"}`, "send", "--print", "--sample", "status", "-")
	lines := strings.Split(got.stdout, "\n")
	if got.code != exitOK || len(lines) != 3 || !json.Valid([]byte(lines[0])) || lines[1] != `{"from":"stdin"}` {
		t.Errorf("got %+v", got)
	}
}

func TestSendRefused(t *testing.T) {
	without(t)
	_, url := startFakeReceiver(t)
	got := spillway(t, "", "send", "--url", url, "--app-secret", "wrong", "--sample", "message", "--sample", "status")
	if got.code != exitFailure || got.stderr != "spillway: 2 of 2 webhooks were not answered with 200: is it the app secret of the receiver?\n" {
		t.Errorf("got %+v", got)
	}
	if lines := decodeLines[sendLine](t, got.stdout); len(lines) != 2 || lines[0].Status != 403 {
		t.Errorf("printed %+v", lines)
	}
}

func TestSendNobodyListens(t *testing.T) {
	without(t)
	server := httptest.NewServer(http.NotFoundHandler())
	url := server.URL
	server.Close()
	got := spillway(t, "", "send", "--url", url, "--app-secret", "hidden secret", "--sample", "message")
	lines := decodeLines[sendLine](t, got.stdout)
	if got.code != exitFailure || len(lines) != 1 || lines[0].Status != 0 || !strings.Contains(lines[0].Error, "refused") {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(got.stderr, "is the receiver running at") {
		t.Errorf("no hint in %q", got.stderr)
	}
	verify := spillway(t, "", "send", "--url", url, "--verify", "--verify-token", "hidden token")
	if verify.code != exitFailure || strings.Contains(verify.stderr+verify.stdout+got.stderr+got.stdout, "hidden") {
		t.Errorf("got %+v", verify)
	}
}

func TestSendVerify(t *testing.T) {
	without(t)
	receiver, url := startFakeReceiver(t)
	got := spillway(t, "", "send", "--url", url, "--verify", "--verify-token", receiver.token)
	lines := decodeLines[sendLine](t, got.stdout)
	if got.code != exitOK || len(lines) != 1 || lines[0].Verify != url+"/api/webhook" || lines[0].Echo == nil || !*lines[0].Echo {
		t.Errorf("got %+v", got)
	}
	wrong := spillway(t, "", "send", "--url", url, "--verify", "--verify-token", "wrong", "--sample", "message", "--app-secret", receiver.secret)
	if wrong.code != exitFailure || !strings.Contains(wrong.stderr, "the verify token is not the receiver's") {
		t.Errorf("got %+v", wrong)
	}
	if len(receiver.taken()) != 0 {
		t.Error("sent in spite of the failed verification")
	}
}

// TestVerifyWantsTheEcho: an answer of 200 alone verifies nothing.
func TestVerifyWantsTheEcho(t *testing.T) {
	without(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.URL.Query().Get("hub.challenge")) // one byte too many
	}))
	defer server.Close()
	got := spillway(t, "", "send", "--url", server.URL, "--verify", "--verify-token", "t")
	if got.code != exitFailure || !strings.Contains(got.stderr, "without the echo") {
		t.Errorf("got %+v", got)
	}
}

func TestSecretsAreFound(t *testing.T) {
	without(t)
	receiver, url := startFakeReceiver(t)
	data := t.TempDir()
	made, err := config.MakeDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	send := []string{"send", "--url", url, "--data", data, "--sample", "message", "--verify"}

	receiver.secret, receiver.token = made.AppSecret, made.VerifyToken
	if got := spillway(t, "", send...); got.code != exitOK {
		t.Errorf("with dev.env: %+v", got)
	}
	t.Setenv("SPILLWAY_APP_SECRET", "current, previous")
	receiver.secret = "current"
	if got := spillway(t, "", send...); got.code != exitOK {
		t.Errorf("with the variable: %+v", got)
	}
	receiver.secret = "flag, with comma"
	if got := spillway(t, "", append(send, "--app-secret", receiver.secret)...); got.code != exitOK {
		t.Errorf("with the flag: %+v", got)
	}
}

func TestBaseURL(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:8080":            "http://localhost:8080/api/webhook",
		"http://localhost":          "http://localhost/api/webhook",
		"https://a.example/":        "https://a.example/api/webhook",
		"https://a.example/hooks/1": "https://a.example/hooks/1",
		"[::1]:80":                  "http://[::1]:80/api/webhook",
	} {
		if u, err := baseURL(text, "http", webhookPath); err != nil || u.String() != want {
			t.Errorf("%s: got %v, %v, want %s", text, u, err, want)
		}
	}
	for _, text := range []string{"", "http://", "ws://a", "://", "http://%zz"} {
		if u, err := baseURL(text, "http", webhookPath); err == nil {
			t.Errorf("%q gives %s", text, u)
		}
	}
}

func TestLocalURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":8080": "http://127.0.0.1:8080", "0.0.0.0:80": "http://127.0.0.1:80",
		"[::]:80": "http://127.0.0.1:80", "[::1]:80": "http://[::1]:80", "example.com:80": "http://example.com:80",
	} {
		if got := localURL("http", listen); got != want {
			t.Errorf("%s: got %s, want %s", listen, got, want)
		}
	}
}
