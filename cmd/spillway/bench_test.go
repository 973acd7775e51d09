package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"spillway/bench/ack"
)

// TestBenchAck measures every receiver for a moment, with Redis servers of the
// benchmark's own, and leaves nothing behind.
func TestBenchAck(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(buildBinary(t), "bench", "ack", "--redis", "--body", "600", "--connections", "8",
		"--rounds", "1", "--duration", "500ms", "--prime", "50ms", "--dir", dir, "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var report ack.Report
	decodeLine(t, stdout.String(), &report)
	if len(report.Cases) != 1 {
		t.Fatalf("%d cases", len(report.Cases))
	}
	for _, kind := range ack.Kinds {
		checkSamples(t, kind, report.Cases[0].Samples[kind])
	}
	for _, name := range []string{"paused/ceiling", "paused/file", "serve/ceiling", "redis/ceiling", "redis/xadd", "redis/xadd-grouped"} {
		if s := report.Cases[0].Ratios[name]; s.Min <= 0 || s.Median < s.Min || s.Max < s.Median {
			t.Errorf("%s is %s", name, s)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func checkSamples(t *testing.T, kind string, samples []ack.Sample) {
	t.Helper()
	if len(samples) != 1 {
		t.Errorf("%s: %d samples of 1 round", kind, len(samples))
	}
	for _, s := range samples {
		if s.Rate <= 0 || s.P50 <= 0 || s.ProcessorPerMillion <= 0 || s.Memory < 1<<20 {
			t.Errorf("%s: no measurement: %+v", kind, s)
		}
		if ack.NeedsRedis(kind) != (s.ServerPerMillion > 0) {
			t.Errorf("%s: its Redis used %v s a million", kind, s.ServerPerMillion)
		}
		if ack.Syncs(kind) != (s.RecordsPerSync >= 1) {
			t.Errorf("%s: %v records a sync", kind, s.RecordsPerSync)
		}
	}
}

// TestBenchAckWithoutRedis: where there is no redis-server, nothing is started.
func TestBenchAckWithoutRedis(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"--redis"}, {"--kinds", "ceiling,xadd"}} {
		cmd := exec.Command(buildBinary(t), slices.Concat([]string{"bench", "ack", "--dir", dir}, args)...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH=") })
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(string(out), "redis-server is not on the PATH: install it") {
			t.Errorf("%v: exit code %d: %s", args, code, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
