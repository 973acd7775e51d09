package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spillway/bench/report"
)

// resultFile writes a result of a campaign, as `bench campaign --json` does.
func resultFile(t *testing.T, folder, name string, seed uint64) string {
	t.Helper()
	var run report.Run
	run.Result.Seed, run.Result.Verdict.Passed = seed, true
	data, err := json.Marshal(run.Result)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// files are the names in a folder, in their order.
func files(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestBenchReport(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	one, other := resultFile(t, folder, "one.json", 4242), resultFile(t, folder, "again/one.json", 4343)
	stdin, err := os.ReadFile(resultFile(t, t.TempDir(), "two.json", 4444))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		file string // "" for standard output
		want []string
	}{
		{"one result", []string{"one.json"}, "report.html", []string{"Passed", "4242"}},
		{"a file that is there", []string{one}, "report.html", []string{"4242"}},
		{"to another file", []string{one, "-o", "other.html"}, "other.html", []string{"4242"}},
		{"to standard output", []string{one, "-o", "-"}, "", []string{"4242"}},
		{"from standard input", []string{"-", one, "-o", "-"}, "", []string{"standard input", "4444", "4242"}},
		{"two of one name", []string{one, other, "-o", "-"}, "", []string{"All 2 runs passed", "again/one.json", "4242", "4343"}},
	} {
		got := spillway(t, string(stdin), append([]string{"bench", "report"}, test.args...)...)
		page := got.stdout
		if test.file != "" {
			data, err := os.ReadFile(test.file)
			if err != nil || got.stdout != "" {
				t.Errorf("%s: %v, printed %q", test.name, err, got.stdout)
			}
			page = string(data)
		}
		if got.code != exitOK || !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
			t.Errorf("%s: exit code %d, %s, %d bytes", test.name, got.code, got.stderr, len(page))
		}
		for _, want := range test.want {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q in the page", test.name, want)
			}
		}
	}
	if got, want := files(t, folder), "again one.json other.html report.html"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
}

// TestBenchReportRefuses wants a mistake to be named with its file, and to leave an
// earlier page as it is.
func TestBenchReportRefuses(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	result := resultFile(t, folder, "one.json", 1)
	for name, text := range map[string]string{"ack.json": `{"rounds": 3}`, "cut.json": `{"seed": 1`, "report.html": "earlier"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "no FILE is given; see spillway bench report --help"},
		{[]string{"absent.json"}, exitUsage, "spillway: absent.json: no such file or directory\n"},
		{[]string{"."}, exitUsage, ".: read result"},
		{[]string{result, "ack.json"}, exitUsage, "ack.json: not a result of `bench campaign --json`: json: unknown field \"rounds\""},
		{[]string{"cut.json"}, exitUsage, "cut.json: not a result of `bench campaign --json`: unexpected EOF"},
		{[]string{"-"}, exitUsage, "-: not a result of `bench campaign --json`: it is empty"},
		{[]string{result, result, result, result, result, result, result}, exitUsage, "7 results are given; allowed: 6"},
		{[]string{result, "-o", "nowhere/report.html"}, exitFailure, "write page: open nowhere/report.html.new"},
		{[]string{result, "-o", "."}, exitFailure, "is a directory"},
	} {
		got := spillway(t, "", append([]string{"bench", "report"}, test.args...)...)
		if got.code != test.code || !strings.Contains(got.stderr, test.want) || got.stdout != "" {
			t.Errorf("%v: exit code %d, printed %q, said %q, want %q in it", test.args, got.code, got.stdout, got.stderr, test.want)
		}
	}
	if page, err := os.ReadFile("report.html"); err != nil || string(page) != "earlier" {
		t.Errorf("the page that was there is %q, %v", page, err)
	}
	if got, want := files(t, folder), "ack.json cut.json one.json report.html"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
}

// TestBenchReportFollowsLinks wants a link to stay one, and a device to be written
// to.
func TestBenchReportFollowsLinks(t *testing.T) {
	folder := t.TempDir()
	result := resultFile(t, folder, "one.json", 1)
	target, link := filepath.Join(folder, "target.html"), filepath.Join(folder, "link.html")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{link, os.DevNull} {
		if got := spillway(t, "", "bench", "report", result, "-o", output); got.code != exitOK {
			t.Errorf("%s: %s", output, got.stderr)
		}
	}
	if data, err := os.ReadFile(target); err != nil || len(data) == 0 {
		t.Errorf("the target has %d bytes, %v", len(data), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("%s is %v, %v", os.DevNull, info, err)
	}
}
