package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/wal"
)

// outcome is what one command line gave.
type outcome struct {
	code           int
	stdout, stderr string
}

// spillway runs a command line within the test's process.
func spillway(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := execute(args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// without clears the variables that commands read, and leaves no dev.env to find.
func without(t *testing.T) {
	t.Helper()
	for _, name := range []string{"SPILLWAY_APP_SECRET", "SPILLWAY_VERIFY_TOKEN", "SPILLWAY_JWT_SECRET", "SPILLWAY_LISTEN", "SPILLWAY_ADMIN"} {
		t.Setenv(name, "")
	}
	t.Setenv("SPILLWAY_DATA", t.TempDir())
}

func TestUsageErrors(t *testing.T) {
	without(t)
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"serv"}, `"serv" is not a command, did you mean serve`},
		{[]string{"contact", "shwo"}, `"shwo" is not a command, did you mean show?`},
		{[]string{"help", "shwo"}, `"shwo" is not a command`},
		{[]string{"--bogus"}, "unknown flag: --bogus"},
		{[]string{"serve", "extra"}, `"extra" is not expected`},
		{[]string{"serve", "--log-format", "xml"}, "allowed: text, json"},
		{[]string{"serve", "--log-level", "loud"}, "allowed: debug, info, warn, error"},
		{[]string{"serve", "--config", "/nowhere/spillway.yaml"}, "/nowhere/spillway.yaml: cannot be read"},
		{[]string{"serve", "--listen", "8080"}, `--listen: "8080" is not an address`},
		{[]string{"serve", "--dev", "--listen", ":8080"}, "which --dev refuses"},
		{[]string{"send"}, "nothing to send"},
		{[]string{"send", "--sample", "video"}, "allowed: message, image, status"},
		{[]string{"send", "--sample", "message", "--repeat", "0"}, "--repeat 0"},
		{[]string{"send", "--sample", "message"}, "no secret: set --app-secret or SPILLWAY_APP_SECRET"},
		{[]string{"send", "--verify"}, "no secret: set --verify-token or SPILLWAY_VERIFY_TOKEN"},
		{[]string{"send", "--app-secret", "s", "/nowhere.json"}, "no such file"},
		{[]string{"send", "--app-secret", "s", "config/testdata"}, "no .json file below config/testdata"},
		{[]string{"send", "--url", "ftp://x", "--app-secret", "s", "-"}, `"ftp://x" is not a URL`},
		{[]string{"tail", "--count", "-1"}, "--count -1"},
		{[]string{"tail", "--output", "xml"}, "allowed: auto, text, json"},
		{[]string{"tail", "--forward-attempts", "-1"}, "--forward-attempts -1"},
		{[]string{"tail", "--forward", "3000", "--forward-timeout", "0s"}, "--forward-timeout 0s"},
		{[]string{"tail", "--forward", "http://example.com/hook"}, "example.com is not this machine, and events hold personal data: use https"},
		{[]string{"tail", "--events", "message:neww"}, `"message:neww" is not a type of event`},
		{[]string{"token", "--events", "statuses"}, "allowed: message:new, message:status"},
		{[]string{"tail"}, "no secret: set SPILLWAY_JWT_SECRET"},
		{[]string{"tail", "--url", "gopher://x", "--token", "t"}, "is not a URL"},
		{[]string{"token"}, "no secret: set SPILLWAY_JWT_SECRET"},
		{[]string{"token", "--ttl", "0s"}, "--ttl 0s"},
		{[]string{"token", "--ttl", "soon"}, "invalid argument"},
		{[]string{"contact", "show", "--waba", "1"}, "--waba and --id must be given"},
		{[]string{"bench", "ack", "--kinds", "ceiling,redi"}, `kind "redi": allowed are [ceiling file paused serve redis xadd xadd-grouped]`},
		{[]string{"bench", "ack", "--kinds", ""}, "kinds: one at least"},
		{[]string{"bench", "ack", "--prime", "-1s"}, "prime -1s"},
		{[]string{"bench", "target", "--kind", "redis"}, "--redis must be given"},
		{[]string{"bench", "target", "--kind", "serve", "--redis", "127.0.0.1:1"}, "for no other kind"},
		{[]string{"health", "--admin", "ftp://x"}, "is not a URL"},
		{[]string{"health", "--config", "/nowhere.yaml"}, "/nowhere.yaml: cannot be read"},
		{[]string{"version", "now"}, `"now" is not expected`},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got := spillway(t, "", test.args...)
			if got.code != exitUsage {
				t.Errorf("exit code %d", got.code)
			}
			if !strings.HasPrefix(got.stderr, "spillway: ") || !strings.Contains(got.stderr, test.want) {
				t.Errorf("got %q, want %q in it", got.stderr, test.want)
			}
			if strings.Contains(got.stderr, "Usage:") || got.stdout != "" {
				t.Errorf("usage is dumped: %q %q", got.stdout, got.stderr)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{fmt.Errorf("wrapped: %w", usageError("x")), 2},
		{fmt.Errorf("wrapped: %w", config.Mistakes{{Problem: "x"}}), 2},
		{fmt.Errorf("wrapped: %w", errDisk), 3},
		{fmt.Errorf("close: %w", wal.ErrFailed), 3},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}

// TestHelp shows that every command has a help with an example of itself.
func TestHelp(t *testing.T) {
	commands := []*cobra.Command{newRootCommand()}
	for i := 0; i < len(commands); i++ {
		commands = append(commands, commands[i].Commands()...)
	}
	if len(commands) < 10 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, command := range commands {
		if command.Short == "" || !strings.Contains(command.Example, "spillway "+strings.TrimPrefix(command.CommandPath(), "spillway ")) && command.HasParent() {
			t.Errorf("%s has no example", command.CommandPath())
		}
		args := append(strings.Fields(command.CommandPath())[1:], "--help")
		got := spillway(t, "", args...)
		if got.code != exitOK || !strings.Contains(got.stdout, "Examples:") || got.stderr != "" {
			t.Errorf("%s: exit code %d, %q", strings.Join(args, " "), got.code, got.stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	got := spillway(t, "", "version")
	if got.code != exitOK || !strings.HasPrefix(got.stdout, "spillway ") || !strings.Contains(got.stdout, "go1.") {
		t.Errorf("got %+v", got)
	}
	var b build
	decodeLine(t, spillway(t, "", "version", "--json").stdout, &b)
	if b.Version == "" || b.Commit == "" || b.Go == "" || b.Platform == "" {
		t.Errorf("got %+v", b)
	}
}
