package dashboards_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const alertmanagerFile = "alertmanager/alertmanager.yml"

// full reports whether the long forms of the tests are asked for.
func full() bool { return os.Getenv("SPILLWAY_TEST_FULL") != "" }

// tool finds a program of the system. Only the long form of the tests may count
// on it: make test-full installs it.
func tool(t *testing.T, name string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err != nil && full() {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("%s is not installed: make test-full does", name)
	}
	return found
}

// TestAlertmanager: the file is right as it is and with its examples filled in,
// and it routes both severities.
func TestAlertmanager(t *testing.T) {
	amtool := tool(t, "amtool")
	filled := filepath.Join(t.TempDir(), "alertmanager.yml")
	text := regexp.MustCompile(`(?m)^    #([ a-z])`).ReplaceAll(read(t, alertmanagerFile), []byte("    $1"))
	if err := os.WriteFile(filled, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{alertmanagerFile, filled} {
		if out, err := exec.Command(amtool, "check-config", file).CombinedOutput(); err != nil {
			t.Errorf("amtool check-config: %v\n%s", err, out)
		}
	}
	if !strings.Contains(string(text), "\n    pagerduty_configs:") || !strings.Contains(string(text), "\n    slack_configs:") {
		t.Error("the examples were not filled in")
	}
	for _, severity := range []string{"page", "ticket"} {
		out, err := exec.Command(amtool, "config", "routes", "test", "--config.file", alertmanagerFile,
			"--verify.receivers", severity, "severity="+severity, "alertname=SpillwayDown").CombinedOutput()
		if err != nil {
			t.Errorf("%s is routed elsewhere: %v\n%s", severity, err, out)
		}
	}
}

// TestInhibitions silences only alerts that exist.
func TestInhibitions(t *testing.T) {
	rules := string(read(t, "prometheus/alerts.yml"))
	matchers := regexp.MustCompile(`alertname =~? "?([^\]"]+)"?\]`).FindAllSubmatch(read(t, alertmanagerFile), -1)
	if len(matchers) < 10 {
		t.Fatalf("only %d matchers found", len(matchers))
	}
	for _, found := range matchers {
		for _, name := range alternatives(string(found[1])) {
			if !regexp.MustCompile(`(?m)^ *- alert: ` + name + `$`).MatchString(rules) {
				t.Errorf("no alert %s, of %s", name, found[1])
			}
		}
	}
}

// alternatives gives a(b|c)d as abd and acd.
func alternatives(expression string) []string {
	before, rest, some := strings.Cut(expression, "(")
	if !some {
		return []string{expression}
	}
	middle, after, _ := strings.Cut(rest, ")")
	var all []string
	for one := range strings.SplitSeq(middle, "|") {
		all = append(all, before+one+after)
	}
	return all
}
