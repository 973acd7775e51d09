package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"spillway/cmd/spillway/config"
)

func nextTextOf(t *testing.T, c config.Config, public string) string {
	t.Helper()
	text, err := nextCommands(c, public, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNextCommands(t *testing.T) {
	c := config.DefaultConfig()
	c.Stream.JWTSecret = "hidden"
	text := nextTextOf(t, c, "127.0.0.1:8080")
	for _, line := range []string{
		"  ./bin/spillway tail  ", "  ./bin/spillway send --verify  ", "  ./bin/spillway send --sample message  ",
		"http://127.0.0.1:8080/api/webhook", ". data/dev.env", "new WebSocket('ws://127.0.0.1:8080/ws?token=",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
	if strings.Contains(text, "--url") || strings.Contains(text, "--data ") || strings.Contains(text, "hidden") {
		t.Errorf("defaults or secrets are spelt out:\n%s", text)
	}
	token := regexp.MustCompile(`token=([^']+)'`).FindStringSubmatch(text)
	claimsOf(t, token[1], "hidden")

	c.Data, c.TLS.Cert = "/tmp/my data", "cert.pem"
	text = nextTextOf(t, c, "[::1]:9000")
	for _, line := range []string{
		"tail --url wss://[::1]:9000 --data '/tmp/my data' ", "send --verify --url https://[::1]:9000 --data '/tmp/my data' ",
		". '/tmp/my data/dev.env'",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
}

// TestNextCommandsWork pastes the lines with curl into a shell.
func TestNextCommandsWork(t *testing.T) {
	for _, tool := range []string{"curl", "openssl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("%s is not installed: the lines are not tried", tool)
			return
		}
	}
	receiver, url := startFakeReceiver(t)
	c := config.DefaultConfig()
	c.Data = filepath.Join(t.TempDir(), "it's data")
	made, err := config.MakeDevSecrets(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	receiver.secret, c.Stream.JWTSecret = made.AppSecret, made.JWTSecret
	text := nextTextOf(t, c, strings.TrimPrefix(url, "http://"))

	body := filepath.Join(t.TempDir(), "webhook.json")
	if err := os.WriteFile(body, []byte(`{"é":"@"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?s)  curl .*?cut -d ' ' -f 1\)"`).FindString(text)
	out, err := exec.Command("sh", "-c", strings.ReplaceAll(lines, "/tmp/webhook.json", body)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "200 OK") || len(receiver.taken()) != 1 || receiver.taken()[0] != `{"é":"@"}` {
		t.Errorf("%s\ngives %v\n%s", lines, err, out)
	}
}
