package dashboards_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const (
	runbook = "RUNBOOK.md"
	// runbookURL is what all links to the runbook begin with.
	runbookURL = "{{ $externalURL }}/user/runbook.html#"
	// noAlerts is the heading from which on the runbook's sections are no alerts.
	noAlerts = "## Log lines"
)

// ruleFile is what Prometheus reads.
type ruleFile struct {
	Groups []struct {
		Name     string `yaml:"name"`
		Interval string `yaml:"interval"`
		Rules    []rule `yaml:"rules"`
	} `yaml:"groups"`
}

// rule is one that records or one that alerts.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// unitTests is what promtool reads, as far as it is looked at here.
type unitTests struct {
	RuleFiles          []string `yaml:"rule_files"`
	GroupEvalOrder     []string `yaml:"group_eval_order"`
	EvaluationInterval string   `yaml:"evaluation_interval"`
	Tests              []struct {
		Name        string `yaml:"name"`
		Interval    string `yaml:"interval"`
		ExternalURL string `yaml:"external_url"`
		InputSeries []struct {
			Series string `yaml:"series"`
			Values string `yaml:"values"`
		} `yaml:"input_series"`
		AlertRuleTest []struct {
			AlertName string `yaml:"alertname"`
			EvalTime  string `yaml:"eval_time"`
			ExpAlerts []struct {
				ExpLabels      map[string]string `yaml:"exp_labels"`
				ExpAnnotations map[string]string `yaml:"exp_annotations"`
			} `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	} `yaml:"tests"`
}

// readYAML reads a file that has no key but those of into.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalWithOptions(raw, into, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// rules are all rules of a file.
func rules(t *testing.T, name string) []rule {
	t.Helper()
	var file ruleFile
	readYAML(t, filepath.Join("prometheus", name), &file)
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no rules", name)
	}
	return all
}

// headings are the alerts that the runbook has a section for.
func headings(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	alerts, _, _ := strings.Cut(string(raw), "\n"+noAlerts+"\n")
	var found []string
	for _, match := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(alerts, -1) {
		found = append(found, match[1])
	}
	return found
}

// TestAlertsAreComplete: an alert says how urgent it is, what has happened with
// the value, and links to a section of the runbook, which has no others.
func TestAlertsAreComplete(t *testing.T) {
	sections := headings(t)
	var names []string
	for _, alert := range rules(t, "alerts.yml") {
		if !strings.HasPrefix(alert.Alert, "Spillway") || slices.Contains(names, alert.Alert) {
			t.Errorf("alert %q: no name of its own that begins with Spillway", alert.Alert)
		}
		names = append(names, alert.Alert)
		if severity := alert.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s: severity %q is neither page nor ticket", alert.Alert, severity)
		}
		if alert.Annotations["summary"] == "" || strings.Contains(alert.Annotations["summary"], "{{") {
			t.Errorf("%s: its summary is empty, or differs from one instance to another", alert.Alert)
		}
		if !strings.Contains(alert.Annotations["description"], "{{ $value") {
			t.Errorf("%s: its description lacks the value", alert.Alert)
		}
		if got, want := alert.Annotations["runbook_url"], runbookURL+strings.ToLower(alert.Alert); got != want {
			t.Errorf("%s: runbook_url is %q, want %q", alert.Alert, got, want)
		}
		if !slices.Contains(sections, alert.Alert) {
			t.Errorf("%s has no section in %s", alert.Alert, runbook)
		}
	}
	for _, section := range sections {
		if !slices.Contains(names, section) {
			t.Errorf("%s: there is no alert %s", runbook, section)
		}
	}
}

// TestRunbookSections: each section says what it means, where to look, what to do,
// and every link within the file has a target.
func TestRunbookSections(t *testing.T) {
	raw, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, name := range headings(t) {
		_, section, _ := strings.Cut(text, "\n### "+name+"\n")
		section, _, _ = strings.Cut(section, "\n##")
		for _, part := range []string{"**Means.**", "**Look at.**", "**Do.**"} {
			if strings.Count(section, "\n"+part) != 1 {
				t.Errorf("%s: not one paragraph that begins with %s", name, part)
			}
		}
	}
	anchors := make(map[string]bool)
	for _, match := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		anchors[strings.ReplaceAll(strings.ToLower(match[1]), " ", "-")] = true
	}
	for _, match := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		if !anchors[match[1]] {
			t.Errorf("%s links to #%s, which it does not have", runbook, match[1])
		}
	}
}

// TestAlertsHaveUnitTests: each alert has one that fires and one that does not.
func TestAlertsHaveUnitTests(t *testing.T) {
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, name := range unitTestFiles(t) {
		var file unitTests
		readYAML(t, name, &file)
		for _, test := range file.Tests {
			for _, c := range test.AlertRuleTest {
				if len(c.ExpAlerts) > 0 {
					fires[c.AlertName] = true
				} else {
					quiet[c.AlertName] = true
				}
			}
		}
	}
	for _, alert := range rules(t, "alerts.yml") {
		if !fires[alert.Alert] || !quiet[alert.Alert] {
			t.Errorf("%s: a unit test in which it fires: %t, one in which it does not: %t", alert.Alert, fires[alert.Alert], quiet[alert.Alert])
		}
		delete(fires, alert.Alert)
	}
	for name := range fires {
		t.Errorf("there is a unit test of %s, which is no alert", name)
	}
}

func unitTestFiles(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("prometheus/tests/*.yml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no unit tests of the rules: %v", err)
	}
	return names
}
