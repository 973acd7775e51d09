package dashboards_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// promtool runs Prometheus' own tool in the folder of its files.
func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), tool(t, "promtool"), arguments...)
	command.Dir = "prometheus"
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v in %v\n%s", err, command.Args, out)
	}
}

func TestPromtoolChecks(t *testing.T) {
	promtool(t, "check", "rules", "recording.yml", "alerts.yml")
	promtool(t, "check", "config", "prometheus.yml")
}

// TestPromtoolUnitTests lets each alert fire, and keep quiet.
func TestPromtoolUnitTests(t *testing.T) {
	if !full() {
		t.Skip("in make test-full: it takes a minute")
	}
	for _, name := range unitTestFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", filepath.Join("tests", filepath.Base(name)))
		})
	}
}
