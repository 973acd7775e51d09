package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"spillway/dispatch/event"
	"spillway/ingest"
)

// TestBadInput posts what no one should, and wants the promised answer to each,
// nothing kept of what was refused, nothing lost of what was signed, and nothing
// of either in the log at any level.
func TestBadInput(t *testing.T) {
	cmd := exec.Command(buildBinary(t), "serve", "--log-format", "json", "--log-level", "debug")
	cmd.Env = serveEnv(t.TempDir())
	p := launchCommand(t, cmd)
	p.waitReady()
	good := messageWebhook("wamid.good", "15550001001", "good")
	sign := func(body []byte) string { return ingest.Sign(testAppSecret, body) }
	thousand := make([]string, 1000)
	for i := range thousand {
		thousand[i] = fmt.Sprintf("custom%d", i)
	}
	invalid := bytes.Replace(messageWebhook("wamid.utf8", "15550001002", "caf-"), []byte("caf-"), []byte("caf\xe9"), 1)
	truncated := good[:len(good)-7]
	deep := []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))
	halfway := []byte(`{"entry":[{"changes":[{"field":"messages","value":{"messages":[42,{"id":"wamid.sibling","from":"15550001003","timestamp":"1","type":"text","text":{"body":"a sibling"}}]}}]}]}`)

	for _, c := range []struct {
		name      string
		body      []byte
		signature string
		want      int
	}{
		{"no header", good, "", 401},
		{"half a header", good, sign(good)[:40], 401},
		{"another algorithm", good, "sha1=" + strings.Repeat("0", 40), 401},
		{"wrong secret", good, ingest.Sign("not the secret", good), 403},
		{"empty body", nil, sign(nil), 400},
		{"5 MiB", make([]byte, 5<<20), sign(make([]byte, 5<<20)), 413},
		{"5 MiB unsigned", make([]byte, 5<<20), "", 401},
		{"truncated JSON", truncated, sign(truncated), 200},
		{"not JSON", []byte("hello"), sign([]byte("hello")), 200},
		{"deep nesting", deep, sign(deep), 200},
		{"half of it malformed", halfway, sign(halfway), 200},
		{"invalid UTF-8", invalid, strings.ToUpper(sign(invalid)[7:]), 401},
		{"upper-case hex", invalid, "sha256=" + strings.ToUpper(sign(invalid)[7:]), 200},
		{"1000 updates", statusWebhook("wamid.thousand", "15550001004", thousand...), sign(statusWebhook("wamid.thousand", "15550001004", thousand...)), 200},
	} {
		if got := post(p.webhookURL(), c.body, c.signature); got != c.want {
			t.Errorf("%s: answered %d, want %d", c.name, got, c.want)
		}
	}

	events := p.gather(1002, caused)
	byType := make(map[string]int)
	for _, e := range events {
		byType[e.Type]++
		if e.UID == event.UID(event.MessageNew, "wamid.good").String() {
			t.Error("an event of a webhook that was refused")
		}
		if e.UID == event.UID(event.MessageNew, "wamid.utf8").String() {
			text := e.Payload["content"].(map[string]any)["text"].(string)
			if !utf8.ValidString(text) || text != "caf\uFFFD" {
				t.Errorf("invalid UTF-8 came out as %q", text)
			}
		}
	}
	if byType[event.MessageNew] != 2 || byType[event.MessageStatus] != 1000 {
		t.Errorf("events %v, want 2 messages and 1000 statuses", byType)
	}
	if dead := p.metric(`spillway_events_total{outcome="dead",type="unknown"}`); dead != "4" {
		t.Errorf("%s dead letters, want 4: truncated, not JSON, deep, and one item", dead)
	}
	if code := p.terminate(15 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, secret := range []string{
		testAppSecret, testVerifyToken, testJWTSecret, testToken(t)[:40], sign(good)[7:], "1555000", "a sibling", "wamid", "caf", "hello",
	} {
		if strings.Contains(p.logText(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	told := make(map[any]bool)
	for _, line := range p.logLines() {
		told[line["msg"]] = true
	}
	for _, message := range []string{"webhooks hold what cannot be decoded: kept as dead letters", "pebble says"} {
		if !told[message] {
			t.Errorf("the log does not say: %s", message)
		}
	}
}

func (p *process) residentBytes() int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// TestSendersThatStop opens connections that announce 4 MiB and stop. They must
// cost little memory, keep no one out, and be closed in time.
func TestSendersThatStop(t *testing.T) {
	const senders = 1000
	p := start(t, t.TempDir(), "SPILLWAY_LIMITS_READ_TIMEOUT=5s")
	before := p.residentBytes()
	header := fmt.Sprintf("POST /api/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nX-Hub-Signature-256: sha256=%s\r\n\r\n", strings.Repeat("0", 64))
	conns := make([]net.Conn, senders)
	for i := range conns {
		conn, err := net.Dial("tcp", p.public)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, header); err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	if status := p.post(messageWebhook("wamid.meanwhile", "15550001001", "hello")); status != 200 {
		t.Errorf("a webhook meanwhile is answered %d", status)
	}
	grown := p.residentBytes() - before
	t.Logf("%d connections cost %d KiB each", senders, grown/senders>>10)
	if grown > 64<<20 {
		t.Errorf("%d connections cost %d MiB, want at most 64", senders, grown>>20)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadAll(conn); err != nil && os.IsTimeout(err) {
			t.Fatal("a sender that stopped is still connected")
		}
	}
}

// TestDataTaken starts a second process over the same folder, and one over a
// folder that cannot be made.
func TestDataTaken(t *testing.T) {
	data := t.TempDir()
	start(t, data)
	if result, detail := resultOf(t, findings(checkOptions(data)), "data"); result != resultWarn || !strings.Contains(detail, "in use") {
		t.Errorf("check says %s of a folder in use: %s", result, detail)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{data: "in use", filepath.Join(file, "data"): "not a folder"} {
		cmd := exec.Command(buildBinary(t), "serve")
		cmd.Env = serveEnv(folder)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("exit %d over %s", cmd.ProcessState.ExitCode(), folder)
		}
		if !strings.Contains(string(out), filepath.Dir(folder)) || !strings.Contains(string(out), want) {
			t.Errorf("the message names neither %s nor %q:\n%s", folder, want, out)
		}
	}
}

// TestTerminate wants an orderly end on SIGTERM: exit code 0, in time, with all
// that was acked still there.
func TestTerminate(t *testing.T) {
	data := t.TempDir()
	p := start(t, data)
	if status := p.post(messageWebhook("wamid.last", "15550001001", "bye")); status != 200 {
		t.Fatalf("answered %d", status)
	}
	if code := p.terminate(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.logText())
	}
	p = start(t, data)
	p.gather(1, caused)
}
