package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// step finds the README's blocks that a new user is told to paste.
var step = regexp.MustCompile("(?s)<!-- first-steps: run by TestFirstSteps -->\n```sh\n(.*?)```")

// TestFirstSteps does what the README tells a new user to do, paste by paste,
// beside a receiver started the way `make run` starts it.
func TestFirstSteps(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	pastes := step.FindAllStringSubmatch(string(readme), -1)
	wants := [][]string{
		{`"echo":true`, `"status":200`, `"type":"contact:new"`, `"type":"message:new"`, `"type":"message:status"`},
		{"200\n"},
	}
	if len(pastes) != len(wants) {
		t.Fatalf("the README has %d blocks of first steps, want %d", len(pastes), len(wants))
	}
	dir := builtFolder(t)
	serve := exec.Command(filepath.Join("bin", "spillway"), "serve", "--dev", "--log-format", "json")
	serve.Dir = dir
	serve.Env = append(os.Environ(), "SPILLWAY_LISTEN=127.0.0.1:0", "SPILLWAY_ADMIN=127.0.0.1:0")
	p := launchCommand(t, serve)
	p.waitReady()

	for i, paste := range pastes {
		commands := strings.ReplaceAll(paste[1], "127.0.0.1:8080", p.public)
		if strings.Contains(commands, "curl ") && !installed("curl", "openssl") {
			t.Logf("not run, for it needs curl and openssl:\n%s", commands)
			continue
		}
		shell := exec.Command("bash", "-euo", "pipefail", "-c", commands)
		shell.Dir = dir
		shell.Env = append(os.Environ(), "SPILLWAY_LISTEN="+p.public)
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%v in\n%s\n%s", err, commands, out)
		}
		for _, want := range wants[i] {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s is not in the output of\n%s\n%s", want, commands, out)
			}
		}
	}
}

func installed(programs ...string) bool {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}

// builtFolder is a folder with bin/spillway in it, as `make build` leaves it.
func builtFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(buildBinary(t), filepath.Join(dir, "bin", "spillway")); err != nil {
		t.Fatal(err)
	}
	return dir
}
