package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"spillway/wal"
)

// TestLogOfAnother meets what listens where the receiver is looked for: nothing,
// something else, another receiver, one that cuts the answer or fails in it.
func TestLogOfAnother(t *testing.T) {
	withoutData(t)
	data := numberedLog(t, 1, 0)
	c := wal.DefaultConfig()
	c.Dir, c.MinFree = data+"/log", 0
	log, err := wal.Open(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const entry = `{"entry":{"lane":"express","seq":1,"last":2,"record":{"received":"2026-01-02T03:04:05Z","app":"a","signature":"qw==","body":"e30="}}}` + "\n"
	const printed = `{"lane":"express","seq":1,"received":"2026-01-02T03:04:05Z","app":"a","signature":"ab","body":{}}` + "\n"
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	tests := []struct {
		name, kind, answer string
		want               outcome // HOST stands for what listens
	}{
		{"nothing", "", "", outcome{exitFailure, "", "spillway: " + data + "/log is in use by another process, and nothing listens at HOST: name the admin listener of the receiver with --admin, or wait until the other command has ended\n"}},
		{"a web page", "text/html", "<html>", outcome{exitFailure, "", "spillway: what listens at HOST is not the admin listener of this version of Spillway: it answers 200\n"}},
		{"another receiver", "application/x-ndjson", `{"folder":"/elsewhere/log"}` + "\n",
			outcome{exitFailure, "", "spillway: " + data + "/log is in use by another process, and the receiver at HOST has /elsewhere/log open: name the admin listener of the right one with --admin\n"}},
		{"whole", "application/x-ndjson", entry + `{"end":true}` + "\n", outcome{exitOK, printed, ""}},
		{"cut", "application/x-ndjson", entry, outcome{exitFailure, printed, "spillway: the connection to the admin listener was cut: what came is not all\n"}},
		{"cut in a line", "application/x-ndjson", entry + entry[:99], outcome{exitFailure, printed, "spillway: the connection to the admin listener was cut: what came is not all\n"}},
		{"failed", "application/x-ndjson", entry + `{"error":"the disk is gone"}` + "\n", outcome{exitFailure, printed, "spillway: the disk is gone\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", test.kind)
				if r.URL.Path == logStatPath && strings.HasPrefix(test.answer, `{"entry"`) {
					fmt.Fprintf(w, `{"folder":%q}`, realPath(c.Dir))
					return
				}
				if r.URL.Query().Get(queryLane) == wal.Bulk.String() {
					_, _ = io.WriteString(w, `{"end":true}`)
					return
				}
				_, _ = io.WriteString(w, test.answer)
			}))
			defer server.Close()
			host := strings.TrimPrefix(server.URL, "http://")
			if test.kind == "" {
				host = strings.TrimPrefix(gone.URL, "http://")
			}
			t.Setenv("SPILLWAY_ADMIN", host)
			test.want.stderr = strings.ReplaceAll(test.want.stderr, "HOST", host)
			if got := spillway(t, "", "log", "cat", "--data", data); got != test.want {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// TestLogEndpoints asks as a script would, mistakes included.
func TestLogEndpoints(t *testing.T) {
	withoutData(t)
	p := startFile(t, logConfigFile(t, t.TempDir(), bothApps))
	for _, test := range []struct {
		method, path string
		status       int
		answer       string
	}{
		{"GET", "/log/records", 200, `{"entry":{"lane":"express","seq":0,"last":0}}` + "\n" + `{"entry":{"lane":"bulk","seq":0,"last":0}}` + "\n" + `{"end":true}` + "\n"},
		{"GET", "/log/records?lane=slow", 400, "lane \"slow\" is not allowed; allowed: express, bulk\n"},
		{"GET", "/log/records?form=1", 400, "\"form\" is not known; allowed: lane, from, to, after, since, app, wamid\n"},
		{"GET", "/log/records?lane=bulk&from=x", 400, "from \"x\" is not a sequence; allowed: a whole number\n"},
		{"GET", "/log/records?lane=bulk&from=7", 400, "the bulk lane has no record 7: the last one is 0\n"},
		{"GET", "/log/dead", 200, `{"end":true}` + "\n"},
		{"GET", "/log/dead/bulk/1/whole", 404, errNoLetter.Error() + "\n"},
		{"GET", "/log/dead/bulk/1/-1", 400, "ITEM \"-1\" is not allowed; allowed: 0 and more, or whole\n"},
		{"GET", "/log/replay?lane=bulk", 405, "Method Not Allowed\n"},
		{"POST", "/log/replay", 400, "lane \"\" is not allowed; allowed: express, bulk\n"},
		{"POST", "/log/replay?lane=bulk&force=1", 400, "force \"1\" is not allowed; allowed: true, false\n"},
		{"POST", "/log/replay?lane=bulk", 200, `{"replay":{"lane":"bulk","from":1,"to":0,"seq":0,"records":0,"fresh":0,"duplicate":0,"stale":0,"replayed":0,"dead":0}}` + "\n" + `{"end":true}` + "\n"},
		{"POST", "/log/dead/bulk/1/0/retry", 404, errNoLetter.Error() + "\n"},
	} {
		request, err := http.NewRequest(test.method, "http://"+p.admin+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.status || string(answer) != test.answer {
			t.Errorf("%s %s: got %d %q, want %d %q", test.method, test.path, response.StatusCode, answer, test.status, test.answer)
		}
	}
	request, err := http.NewRequest("POST", "http://"+p.admin+"/log/replay?lane=bulk", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "https://evil.example")
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site: got %v, %v", response, err)
	}
}

// TestLogReadersThatStop has clients that ask for a large log and do not read:
// there are only so many, webhooks are taken as ever, and stopping does not wait
// for them.
func TestLogReadersThatStop(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	writeLog(t, data, func(log *wal.Log) {
		for range 16 {
			appendRecord(t, log, wal.Express, signed(t, "desk", deskSecret, bytes.Repeat([]byte(" "), 1<<20)))
		}
		log.Release(wal.Express, 16)
	})
	p := startFile(t, logConfigFile(t, data, bothApps))
	for range logReaders {
		conn, err := net.Dial("tcp", p.admin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /log/records HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if status, text := p.adminGet("/log/stat"); status != http.StatusServiceUnavailable || !strings.Contains(text, "try again later") {
		t.Errorf("got %d %s", status, text)
	}
	body := messageWebhook("wamid.meanwhile", "15550001001", "Hello!")
	if status := post(p.webhookURL(), body, signatureOf(t, body)); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	began := time.Now()
	if code := p.terminate(shutdownTimeout); code != exitOK || time.Since(began) > shutdownTimeout/2 {
		t.Errorf("exit code %d after %s", code, time.Since(began))
	}
}

func signatureOf(t *testing.T, body []byte) string {
	t.Helper()
	return fmt.Sprintf("sha256=%x", signed(t, "desk", deskSecret, body).Signature)
}

// TestLogStat holds both forms of stat against a log of known size.
func TestLogStat(t *testing.T) {
	withoutData(t)
	data := numberedLog(t, 3, 2)
	var stat logStat
	decodeLine(t, spillway(t, "", "log", "stat", "--json", "--data", data).stdout, &stat)
	express, bulk := stat.Lanes[wal.Express], stat.Lanes[wal.Bulk]
	if stat.Folder != realPath(data+"/log") || stat.Running || len(stat.Node) != 36 || stat.WriteAmplification != 0 || stat.FreeBytes <= 0 ||
		express.Lane != "express" || express.First != 1 || express.Head != 3 || express.Records != 3 || express.Behind != 3 || express.LastMinute != 3 ||
		bulk.Records != 2 || bulk.Bytes <= 2*64 || time.Since(bulk.Newest) > time.Minute || bulk.Oldest.After(bulk.Newest) {
		t.Errorf("got %+v", stat)
	}
	var out bytes.Buffer
	now := express.Newest.Add(90 * time.Second)
	stat.Folder, stat.Node, stat.Running, stat.AppendedBytes, stat.WrittenBytes, stat.WriteAmplification = "/d/log", "n", true, 1<<20, 3<<19, 1.5
	stat.FreeBytes, stat.DiskBytes, stat.MaxBytes, stat.MinFree = -1, 5<<40, 20<<30, 0
	stat.Lanes[wal.Bulk] = laneStat{Lane: "bulk", First: 1}
	if err := printStat(&out, &stat, now); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"log /d/log, a receiver runs on it", "identity n", "head 3 0", "newest 1m30s ago -",
		"last minute 0.05/s 0.00/s", "log.max_bytes 20.0 GiB", "5.0 TiB taken, ? free, log.min_free 0 B", "1.5 MiB for 1.0 MiB appended since it was opened, write amplification 1.50"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
	if _, err := os.Stat(data + "/store"); err == nil {
		t.Error("looking made a store")
	}
	if err := json.Unmarshal([]byte(`{"item":"none"}`), &deadEntry{}); err == nil {
		t.Error("an item that is neither a number nor whole is read")
	}
}
