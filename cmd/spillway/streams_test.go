package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/store/redis/localredis"
)

// TestReadStreams reads the streams in the ways that the README shows: with
// redis-cli, and with the program that it prints.
func TestReadStreams(t *testing.T) {
	server := startRedis(t, localredis.Options{})
	p := start(t, t.TempDir(), "SPILLWAY_REDIS_ADDRS="+server.Addr())
	for _, name := range []string{"message", "status"} {
		body, err := newSample(name)
		if err != nil {
			t.Fatal(err)
		}
		if status := p.post(body); status != 200 {
			t.Fatalf("answer %d", status)
		}
	}
	p.eventually(20*time.Second, "all dispatched", func() error {
		if got := p.metric(`spillway_events_total{outcome="fresh",type="message:status"}`); got != "1" {
			return fmt.Errorf("%s statuses are out", got)
		}
		if got := p.metric(`spillway_events_total{outcome="fresh",type="message:new"}`); got != "1" {
			return fmt.Errorf("%s messages are out", got)
		}
		return nil
	})
	wants := []string{"contact:new", "message:new", "message:status"}
	all := func(out []byte) error {
		for _, want := range wants {
			if !strings.Contains(string(out), want) {
				return fmt.Errorf("no %s in\n%s", want, out)
			}
		}
		return nil
	}

	commands := strings.ReplaceAll(readmeBlock(t, "streams", "sh"), "127.0.0.1:6379", server.Addr())
	out, err := exec.Command("bash", "-euo", "pipefail", "-c", commands).CombinedOutput()
	if err != nil {
		t.Fatalf("%v in\n%s\n%s", err, commands, out)
	}
	if err := all(out); err != nil {
		t.Error(err)
	}

	dir := t.TempDir()
	source, program, printed := filepath.Join(dir, "main.go"), filepath.Join(dir, "reader"), filepath.Join(dir, "printed")
	if err := os.WriteFile(source, []byte(readmeBlock(t, "reader", "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.Create(printed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	reader := exec.CommandContext(ctx, program, server.Addr(), "crm", "one")
	reader.Stdout, reader.Stderr = file, file
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = reader.Wait() }()
	p.eventually(30*time.Second, "the program prints all events", func() error {
		out, err := os.ReadFile(printed)
		if err != nil {
			return err
		}
		return all(out)
	})
}

// readmeBlock is a block of the README that this test is said to run.
func readmeBlock(t *testing.T, mark, language string) string {
	t.Helper()
	return pageBlock(t, "../../README.md", mark, language)
}

// pageBlock is the same of any page.
func pageBlock(t *testing.T, page, mark, language string) string {
	t.Helper()
	readme, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)<!-- " + mark + ": [a-z ]*by [A-Za-z]+ -->\n```" + language + "\n(.*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatalf("%s has no block %s", page, mark)
	}
	return string(found[1])
}

// startRedis starts a server of the test's own.
func startRedis(t testing.TB, opts localredis.Options) *localredis.Server {
	t.Helper()
	server, err := localredis.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
	return server
}
