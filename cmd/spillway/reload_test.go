package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"spillway/cmd/spillway/config"
	"spillway/ingest"
)

// TestReload rotates a secret by SIGHUP, and wants a bad file to change nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "spillway.yaml")
	write := func(secrets, rest string) {
		t.Helper()
		text := fmt.Sprintf("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndata: %s\napps:\n  - {name: default, verify_token: a token, app_secrets: [%s]}\nstream: {jwt_secret: %q}\n%s",
			filepath.Join(dir, "data"), secrets, testJWTSecret, rest)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("the first secret", "")
	p := launchCommand(t, exec.Command(buildBinary(t), "serve", "--log-format", "json", "--config", file))
	body := messageWebhook("wamid.reload", "15550001001", "hello")
	answer := func(secret string) int { return post(p.webhookURL(), body, ingest.Sign(secret, body)) }
	if first, second := answer("the first secret"), answer("the second secret"); first != 200 || second != 403 {
		t.Fatalf("answered %d and %d before the reload, want 200 and 403", first, second)
	}
	write("the second secret, the first secret", "")
	p.reload("reloaded")
	if first, second := answer("the first secret"), answer("the second secret"); first != 200 || second != 200 {
		t.Errorf("answered %d and %d while rotating, want 200 twice", first, second)
	}
	write("a third secret", "no_such_key: 1\n")
	p.reload("changed nothing")
	if second, third := answer("the second secret"), answer("a third secret"); second != 200 || third != 403 {
		t.Errorf("answered %d and %d after a bad file, want 200 and 403", second, third)
	}
	if ok, failed := p.number(`spillway_config_reloads_total{result="ok"}`), p.number(`spillway_config_reloads_total{result="failed"}`); ok != 1 || failed != 1 {
		t.Errorf("%v good and %v bad reloads are counted; want 1 and 1", ok, failed)
	}
	write("the second secret", "limits: {body: 1MiB}\n")
	p.reload("need a restart")
	if first, second := answer("the first secret"), answer("the second secret"); first != 403 || second != 200 {
		t.Errorf("answered %d and %d after the rotation, want 403 and 200", first, second)
	}
}

// reload sends SIGHUP, and waits until the log says what came of it.
func (p *process) reload(logged string) {
	p.t.Helper()
	seen := strings.Count(p.logText(), logged)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	p.eventually(10*time.Second, "the log says "+logged, func() error {
		if strings.Count(p.logText(), logged) == seen {
			return fmt.Errorf("it does not")
		}
		return nil
	})
}

// TestEndpointsNeedNoRestart: other endpoints are no change that a reload leaves out.
func TestEndpointsNeedNoRestart(t *testing.T) {
	before := config.DefaultConfig()
	after := before
	after.Endpoints = []config.Endpoint{config.DefaultEndpoint()}
	if !reflect.DeepEqual(unreloaded(before), unreloaded(after)) {
		t.Error("an endpoint needs a restart")
	}
	after.Limits.Body++
	if reflect.DeepEqual(unreloaded(before), unreloaded(after)) {
		t.Error("a limit needs none")
	}
}

// TestReloadsDoNotWait: while nobody takes a config, as during the start, the
// newest one stays and signals are still heard.
func TestReloadsDoNotWait(t *testing.T) {
	reloads := newReloads()
	for _, data := range []string{"first", "second", "third"} {
		reloads.offer(config.Config{Data: data})
	}
	if got := <-reloads.next; got.Data != "third" {
		t.Errorf("got the %s config, want the third", got.Data)
	}
}

// TestContactOnRequest shows and forgets a customer of a running receiver.
func TestContactOnRequest(t *testing.T) {
	p := start(t, t.TempDir())
	p.post(messageWebhook("wamid.a", "15550001001", "hello"))
	p.post(messageWebhook("wamid.b", "15550001002", "hello"))
	p.gather(4, func(received) bool { return true })
	contact := func(verb, id string) (string, int) {
		cmd := exec.Command(buildBinary(t), "contact", verb, "--waba", "102", "--id", id, "--admin", "http://"+p.admin)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, step := range []struct {
		verb, id string
		code     int
		want     string
	}{
		{"show", "15550001001", 0, `"wa_id":"15550001001"`},
		{"forget", "15550001001", 0, `"events":2`},
		{"show", "15550001001", 1, "not known"},
		{"forget", "15550001001", 1, "not known"},
		{"show", "15550001002", 0, `"name":"A Customer"`},
	} {
		out, code := contact(step.verb, step.id)
		if code != step.code || !strings.Contains(out, step.want) {
			t.Errorf("contact %s %s: exit %d, %s; want %d, %s", step.verb, step.id, code, out, step.code, step.want)
		}
	}
	if left := p.gather(2, func(received) bool { return true }); len(left) != 2 {
		t.Errorf("%d events are left, want the 2 of the other customer", len(left))
	}
}
