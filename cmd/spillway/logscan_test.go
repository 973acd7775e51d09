package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"spillway/wal"
)

func TestContainsWamid(t *testing.T) {
	for _, test := range []struct {
		body, wamid string
		want        bool
	}{
		{`{"id":"wamid.A/b+c=="}`, "wamid.A/b+c==", true},
		{`{"id":"wamid.A/b+c=="}`, "A/b", true},
		{`{"id":"wamid.A\/b+c=="}`, "wamid.A/b+c==", true},
		{`{"id":"wamid.A\u002Fb\u002bc\u003d\u003D"}`, "wamid.A/b+c==", true},
		{`{"text":"\u00e9","id":"wamid.A/b"}`, "wamid.A/b", true},
		{`{"id":"wamid.A\\/b"}`, "wamid.A/b", false},
		{`{"id":"wamid.A\\u002Fb"}`, "wamid.A/b", false},
		{`{"id":"wamid.A"}`, "wamid.B", false},
		{`wamid.A\/b\u00`, "wamid.A/b", true},
		{`\u00zz\/\`, "zz/", true},
		{``, "wamid", false},
	} {
		if got := containsWamid([]byte(test.body), test.wamid); got != test.want {
			t.Errorf("%s in %s: got %t", test.wamid, test.body, got)
		}
	}
}

// TestScanOfRecordsThatGo has records trimmed while they are read: that is said,
// and no damage.
func TestScanOfRecordsThatGo(t *testing.T) {
	c := wal.DefaultConfig()
	c.Dir, c.MinFree, c.MaxBytes = t.TempDir(), 0, 4<<20 // near which the oldest go at once
	log, err := wal.Open(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 3 {
		appendRecord(t, log, wal.Bulk, wal.Record{Received: time.Now().Add(-time.Hour), Body: make([]byte, 5<<18)})
	}
	var seen []string
	query := recordQuery{Lanes: []wal.Lane{wal.Bulk}}
	err = (&localLog{log: log}).Records(t.Context(), query, func(e logEntry) error {
		switch {
		case e.Gap != nil:
			seen = append(seen, e.gapText())
		case e.Record != nil:
			seen = append(seen, fmt.Sprint(e.Seq))
			if e.Seq == 1 {
				log.Release(wal.Bulk, 2)
				for deadline := time.Now().Add(20 * time.Second); log.First(wal.Bulk) < 3; time.Sleep(5 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("nothing is trimmed")
					}
				}
			}
		}
		return nil
	})
	want := "1; bulk record 2 went by log.retain while the log was read; 3"
	if got := strings.Join(seen, "; "); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	gap := ""
	query.After = 1
	err = (&localLog{log: log}).Records(t.Context(), query, func(e logEntry) error {
		if e.Gap != nil {
			gap += e.gapText()
		}
		return nil
	})
	if err != nil || gap != "bulk record 2 went by log.retain while the log was read" {
		t.Errorf("after record 1: got %s, %v", gap, err)
	}
	if err := (&localLog{log: log}).Records(t.Context(), recordQuery{Lanes: query.Lanes, From: 2}, nil); err == nil || err.Error() != "bulk record 2 is gone: the first one kept is 3" {
		t.Errorf("got %v", err)
	}
}

// TestPositionStopsBeforeAGap: whoever goes on after it must still be told the gap.
func TestPositionStopsBeforeAGap(t *testing.T) {
	var told uint64
	s := scan{next: 9, gap: &logEntry{Seq: 5}, emit: func(e logEntry) error { told = e.Seq; return nil }}
	if err := s.tellPosition(); err != nil || told != 4 {
		t.Errorf("told %d, %v, want 4", told, err)
	}
}

func TestWithBody(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1.0,"b":"\u00e9<\/>&"}`:        `{"x":"<","body":{"a":1.0,"b":"\u00e9<\/>&"}}`,
		"{\"a\": \"b c\",\n\t\"d\": []}\r\n": `{"x":"<","body":{"a":"b c","d":[]}}`,
		`1e400`:                              `{"x":"<","body":1e400}`,
		"{\"a\":\"\xff\"}":                   `{"x":"<","body_base64":"eyJhIjoi/yJ9"}`,
		`{"a":1}{`:                           `{"x":"<","body_base64":"eyJhIjoxfXs="}`,
		``:                                   `{"x":"<","body_base64":""}`,
	} {
		if got, err := withBody(map[string]string{"x": "<"}, []byte(body)); err != nil || string(got) != want+"\n" {
			t.Errorf("%q: got %s, %v, want %s", body, got, err, want)
		}
	}
}

// TestQueriesGoThroughURLs writes queries as a client does and reads them as the
// admin listener does.
func TestQueriesGoThroughURLs(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, q := range []recordQuery{
		{Lanes: wal.Lanes[:]},
		{Lanes: []wal.Lane{wal.Bulk}, From: 1, To: 1<<64 - 1, After: 7, Since: since, App: "a b", Wamid: "wamid.A/b+c=&"},
	} {
		got, err := parseRecordQuery(q.values())
		if err != nil || !slices.Equal(got.Lanes, q.Lanes) || got.From != q.From || got.To != q.To || got.After != q.After || !got.Since.Equal(q.Since) || got.App != q.App || got.Wamid != q.Wamid {
			t.Errorf("got %+v, %v, want %+v", got, err, q)
		}
	}
	for _, q := range []replayQuery{{Lane: wal.Bulk}, {Lane: wal.Express, From: 2, To: 3, Since: since, Force: true}} {
		if got, err := parseReplayQuery(q.values()); err != nil || got != q {
			t.Errorf("got %+v, %v, want %+v", got, err, q)
		}
	}
}

func TestLogUsageErrors(t *testing.T) {
	withoutData(t)
	for args, want := range map[string]string{
		"":                                  "",
		"stats":                             `"stats" is not a command, did you mean stat`,
		"stat now":                          `"now" is not expected`,
		"stat --config /nowhere.yaml":       "/nowhere.yaml: cannot be read",
		"stat --admin ftp://x":              `"ftp://x" is not a URL`,
		"cat --lane slow":                   `--lane "slow" is not allowed; allowed: express, bulk`,
		"cat --from 3":                      "--from names a record of one lane: add --lane express or --lane bulk",
		"cat --to 3 --lane bulk,express":    "--to names a record of one lane",
		"cat --lane bulk --from 0":          "--from 0 is not allowed; allowed: 1 and more",
		"cat --lane bulk --from 3 --to 2":   "--from 3 is after --to 2",
		"cat --lane bulk --from -1":         "invalid argument",
		"cat --since yesterday":             `--since "yesterday" is not allowed; allowed: a duration such as`,
		"cat --since -2h":                   `--since "-2h" is not allowed`,
		"cat --limit -1":                    "--limit -1 is not allowed; allowed: 0 and more",
		"cat --app=":                        "--app is empty",
		"cat --grep-wamid=":                 "--grep-wamid is empty",
		"verify":                            "no app secret: name the config with --config, or set SPILLWAY_APP_SECRET",
		"replay":                            "give one of --again and --to-url URL",
		"replay --again --to-url x":         "give one of --again and --to-url URL",
		"replay --to-url x --force":         "--force goes with --again alone",
		"replay --again --concurrency 2":    "go with --to-url alone",
		"replay --to-url x --concurrency 0": "--concurrency 0 is not allowed; allowed: 1 to 1024",
		"replay --to-url x --retry-for -1s": "--retry-for -1s is not allowed",
		"replay --to-url ftp://x":           `"ftp://x" is not a URL`,
		"replay --again --from 1":           "--from names a record of one lane",
		"dead lst":                          `"lst" is not a command, did you mean list?`,
		"dead show":                         "LANE SEQ ITEM must be given",
		"dead show bulk 1":                  "LANE SEQ ITEM must be given",
		"dead show slow 1 0":                `lane "slow" is not allowed; allowed: express, bulk`,
		"dead show bulk 0 0":                `SEQ "0" is not allowed; allowed: 1 and more`,
		"dead show bulk 1 all":              `ITEM "all" is not allowed; allowed: 0 and more, or whole`,
		"dead retry":                        "name a letter by LANE SEQ ITEM, or give --all",
		"dead retry --all bulk 1 0":         `"bulk" is not expected`,
		"drain":                             "--data DIR must be given",
	} {
		got := spillway(t, "", append([]string{"log"}, strings.Fields(args)...)...)
		if args == "" {
			if got.code != exitOK || !strings.Contains(got.stdout, "Examples:") {
				t.Errorf("log alone: got %+v", got)
			}
			continue
		}
		if got.code != exitUsage || !strings.HasPrefix(got.stderr, "spillway: ") || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%s: got %+v, want %q", args, got, want)
		}
	}
	for _, command := range []string{"stat", "cat", "dead list", "replay --again", "dead retry --all"} {
		got := spillway(t, "", append(append([]string{"log"}, strings.Fields(command)...), "--data", "/nowhere")...)
		if got.code != exitFailure || !strings.Contains(got.stderr, "there is no log in /nowhere/log: name the folder") {
			t.Errorf("%s: got %+v", command, got)
		}
	}
	if _, err := os.Stat("/nowhere"); err == nil {
		t.Error("looking made a folder")
	}
}

func TestJobProgress(t *testing.T) {
	var out bytes.Buffer
	j := newJob(&out)
	j.progress("1 of %d", 9)
	j.note("a %s", "note")
	if got := out.String(); got != "spillway: a note\n" {
		t.Errorf("no terminal: got %q", got)
	}
	out.Reset()
	j.terminal = true
	j.progress("1 of %d", 9)
	j.progress("2 of %d", 9) // too soon
	j.note("a %s", "note")
	j.shown = time.Now().Add(-progressEvery)
	j.progress("3 of %d", 9)
	j.clear()
	j.clear()
	if got, want := out.String(), "\r\x1b[K1 of 9\r\x1b[Kspillway: a note\n\r\x1b[K3 of 9\r\x1b[K"; got != want {
		t.Errorf("terminal: got %q, want %q", got, want)
	}
	j.diskFailed(os.ErrClosed)
	j.diskFailed(os.ErrExist)
	if err := j.run(func() error { <-t.Context().Done(); return nil }); exitCode(err) != exitDisk || !strings.Contains(err.Error(), os.ErrClosed.Error()) {
		t.Errorf("got %v", err)
	}
}
