package dashboards_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	unitFile = "systemd/spillway.service"
	// exposure is what systemd may find at most, in tenths: 0 is none, 100 is all.
	exposure = 15
)

// TestUnit has systemd read the unit and judge what the service may do.
func TestUnit(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	unit := filepath.Join(t.TempDir(), "spillway.service")
	text := strings.ReplaceAll(string(read(t, unitFile)), "/usr/local/bin/spillway", spillway(t))
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "--no-pager", "security", "--offline=true", "--threshold="+strconv.Itoa(exposure), unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestUnitGivesTime: the receiver has the time and the files it needs, and a
// mistake in the config is not tried again.
func TestUnitGivesTime(t *testing.T) {
	setting := func(name string) string {
		found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindSubmatch(read(t, unitFile))
		if found == nil {
			t.Fatalf("%s is not set", name)
		}
		return string(found[1])
	}
	if seconds, err := strconv.Atoi(setting("TimeoutStopSec")); err != nil || time.Duration(seconds)*time.Second < stopTime {
		t.Errorf("it is killed after %d s, and may need %s", seconds, stopTime)
	}
	if files, err := strconv.Atoi(setting("LimitNOFILE")); err != nil || files < openFiles {
		t.Errorf("it may open %d files, and may need %d", files, openFiles)
	}
	for name, want := range map[string]string{"Restart": "always", "StartLimitIntervalSec": "0"} {
		if got := setting(name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	if _, folder, _ := strings.Cut(setting("Environment"), "SPILLWAY_DATA=/var/lib/"); folder != setting("StateDirectory") {
		t.Errorf("its data are in %s, its folder is %s", folder, setting("StateDirectory"))
	}
}
