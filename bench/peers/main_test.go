package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"spillway/bench/peers/peer"
)

// folder holds what the tests build.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "peers-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	var errs []error
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(folder, "peers"), "."},
		{"-C", "../..", "build", "-buildvcs=false", "-o", filepath.Join(folder, "spillway"), "./cmd/spillway"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("go %v: %w: %s", args, err, out))
		}
	}
	return errors.Join(errs...)
})

// programs are this program and Spillway, built.
func programs(t *testing.T) peer.Programs {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return peer.Programs{
		Self: filepath.Join(folder, "peers"), Spillway: filepath.Join(folder, "spillway"), Stderr: t.Output(),
	}
}

// dataFolder is one that PostgreSQL's own user can pass through.
func dataFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peers-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is this program with arguments, its data in dir.
func command(t *testing.T, dir string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	p := programs(t)
	cmd = exec.Command(p.Self, append([]string{"--spillway", p.Spillway, "--dir", dir, "--rounds", "1", "--duration", "200ms",
		"--prime", "50ms", "--kill-after", "200ms", "--campaigns", "", "--stream=false", "--connections", "8"}, args...)...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// nothingLeft fails where there are files in a folder, or processes that name it.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range processes {
		line, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		if bytes.Contains(line, []byte(dir)) {
			t.Errorf("left running: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

// TestMeasure runs some peers for a moment, a campaign beside them, and writes the
// page.
func TestMeasure(t *testing.T) {
	dir, keep := dataFolder(t), filepath.Join(t.TempDir(), "kept")
	// A Spillway whose campaigns fail, and say so.
	spillway := filepath.Join(t.TempDir(), "spillway")
	script := fmt.Sprintf(`#!/bin/sh
[ "$2" = campaign ] || exec %s "$@"
echo "{\"preset\":\"$4\",\"lost\":7,\"verdict\":{\"passed\":false,\"breaches\":[\"7 events are lost\"]}}"
exit 1
`, programs(t).Spillway)
	if err := os.WriteFile(spillway, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd, stdout, stderr := command(t, dir, "--kinds", "ceiling,spillway,nats-default,xadd-everysec,memory",
		"--spillway", spillway, "--campaigns", "1000mps", "--keep", keep)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	page := stdout.String()
	for _, want := range []string{
		"# Results", "### 8 connections", "| nats-default |", "| xadd-everysec |", "NATS server: 2.", "Redis server v=",
		"--campaigns 1000mps", "**failed**: 7 events are lost", "| 1000mps | 0 lost, 0 doubled | 7, 0 | **not met** |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q:\n%s", want, page)
		}
	}
	if kept, err := os.ReadFile(filepath.Join(keep, "1000mps.json")); err != nil || !bytes.Contains(kept, []byte(`"lost":7`)) {
		t.Errorf("kept %q, %v", kept, err)
	}
	nothingLeft(t, dir)
}

// TestLeftOut: what is not installed is said, in the page and while it runs.
func TestLeftOut(t *testing.T) {
	dir := dataFolder(t)
	cmd, stdout, stderr := command(t, dir, "--kinds", "ceiling,xadd-always")
	cmd.Env = append(os.Environ(), "PATH="+t.TempDir())
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, text := range []string{stdout.String(), stderr.String()} {
		if !strings.Contains(text, "left out") || !strings.Contains(text, "redis-server is not on the PATH") {
			t.Errorf("it is not said:\n%s", text)
		}
	}
	nothingLeft(t, dir)
}

func TestRefused(t *testing.T) {
	dir := dataFolder(t)
	for want, args := range map[string][]string{
		`kind "natz": allowed are`: {"--kinds", "natz"},
		"which --spillway names":   {"--spillway", "/nowhere/spillway"},
		"0 rounds":                 {"--rounds", "0"},
		"0 rounds of the stream":   {"--stream-rounds", "0"},
		"and --stream=false does":  {"--only-stream"},
	} {
		cmd, _, stderr := command(t, dir, args...)
		if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), want) {
			t.Errorf("%v: %v, %s", args, err, stderr)
		}
	}
	nothingLeft(t, dir)
}

// TestInterrupt: one that is interrupted leaves nothing, not even one whose own
// terminal interrupts all it has started.
func TestInterrupt(t *testing.T) {
	dir := dataFolder(t)
	for _, group := range []bool{false, true} {
		cmd, _, stderr := command(t, dir, "--kinds", "ceiling,spillway,nats-default,xadd-everysec,nethttp-fsync,memory", "--duration", "1m")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second) // some of them run
		pid := cmd.Process.Pid
		if group {
			pid = -pid
		}
		if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("it was not interrupted: %s", stderr)
		}
		nothingLeft(t, dir)
	}
}
