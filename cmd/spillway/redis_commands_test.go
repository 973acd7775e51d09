package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
	"spillway/ingest"
)

// redisConfigFile is a config of a receiver that dispatches to the servers.
func redisConfigFile(t *testing.T, data, addrs string) string {
	t.Helper()
	file := logConfigFile(t, data, bothApps)
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(text, "redis: {addrs: [\""+addrs+"\"]}\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCommandsWithRedis runs the commands that reach a store beside a receiver with
// Redis, and on what it left behind.
func TestCommandsWithRedis(t *testing.T) {
	withoutData(t)
	server := startRedis(t, localredis.Options{AppendOnly: true})
	data := t.TempDir()
	file := redisConfigFile(t, data, server.Addr())
	name := "redis " + server.Addr() + " spillway"
	want := func(got outcome, code int, text string) {
		t.Helper()
		if got.code != code || !strings.Contains(got.stdout+got.stderr, text) {
			t.Errorf("exit code %d, want %d with %q:\n%s%s", got.code, code, text, got.stdout, got.stderr)
		}
	}
	want(spillway(t, "", "check", "--config", file), exitOK, "redis: "+name+": a new store will be made there")

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// other is the same config with something else in it.
	other := func(old, new string) string {
		file := filepath.Join(t.TempDir(), "spillway.yaml")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, new)), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	want(spillway(t, "", "check", "--config", other("log: {", "log: {retain: 5m, ")), exitOK, "log.retain: 5m0s: what Redis loses")

	p := startFile(t, file)
	post := func(body []byte) {
		t.Helper()
		if status := post(p.webhookURL(), body, ingest.Sign(shopSecret, body)); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	for i := range 5 {
		post(messageWebhook(fmt.Sprint("wamid.m.", i), "15550001001", "Hello!"))
		post(statusWebhook(fmt.Sprint("wamid.s.", i), "15550001001", "sent"))
	}
	fresh := `spillway_events_total{outcome="fresh",type="message:status"}`
	p.eventually(20*time.Second, "all dispatched", func() error {
		if got := p.metric(fresh); got != "5" {
			return fmt.Errorf("%s statuses are out", got)
		}
		if got := p.metric(`spillway_events_total{outcome="fresh",type="message:new"}`); got != "5" {
			return fmt.Errorf("%s messages are out", got)
		}
		return nil
	})
	want(spillway(t, "", "check", "--config", file), exitOK, "redis: "+name+": holds a store of this layout")
	admin := "http://" + p.admin
	p.eventually(20*time.Second, "all durable", func() error {
		if got := spillway(t, "", "log", "stat", "--json", "--data", data, "--admin", admin); strings.Count(got.stdout, `"behind":0`) != 2 {
			return fmt.Errorf("%s%s", got.stdout, got.stderr)
		}
		return nil
	})
	who := []string{"--admin", admin, "--waba", "102", "--id", "15550001001"}
	want(spillway(t, "", append([]string{"contact", "show"}, who...)...), exitOK, `"wa_id":"15550001001"`)
	want(spillway(t, "", append([]string{"contact", "forget"}, who...)...), exitOK, `{"events":11}`)
	want(spillway(t, "", append([]string{"contact", "show"}, who...)...), exitFailure, "the contact is not known")
	p.terminate(shutdownTimeout)

	want(spillway(t, "", "log", "replay", "--again", "--data", data), exitFailure, "dispatched to "+name+": give its file with --config")
	want(spillway(t, "", "log", "drain", "--data", data), exitFailure, "dispatched to "+name+": give its file with --config")
	want(spillway(t, "", "log", "replay", "--again", "--config", file), exitOK, `"fresh":0,"duplicate":5`)
	want(spillway(t, "", "log", "drain", "--data", data, "--config", file), exitOK, `"store":"`+name+`"`)

	server.Kill()
	want(spillway(t, "", "check", "--config", file), exitOK, "webhooks would be taken, and dispatched once it answers")
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	seven := other("redis: {", "redis: {partitions: 7, ")
	want(spillway(t, "", "check", "--config", seven), exitFailure, "redis.partitions: 32, and the setting is 7: set it to 32")
	// A process of its own, for it watches for signals until it ends.
	serve := exec.Command(buildBinary(t), "serve", "--config", seven)
	said, err := serve.CombinedOutput()
	want(outcome{code: serve.ProcessState.ExitCode(), stderr: string(said)}, exitFailure, "redis.partitions: 32, and the setting is 7: set it to 32")
	if err == nil {
		t.Error("serve did not fail")
	}
}
