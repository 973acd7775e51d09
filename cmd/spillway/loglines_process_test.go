package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/store"
	"spillway/ingest"
)

// logLines are the lines a process has logged. Each has to be an object with
// time, level and message, and with no key twice.
func (p *process) logLines() []map[string]any {
	p.t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(p.logText()) {
		line, err := parseLogLine(text)
		if err != nil {
			p.t.Errorf("%v in the line %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

func parseLogLine(text string) (map[string]any, error) {
	line := make(map[string]any)
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		return nil, err
	}
	for _, key := range []string{"time", "level", "msg"} {
		if _, has := line[key]; !has {
			return line, errors.New("no " + key)
		}
	}
	// All values are scalars, so that keys and values take turns.
	tokens := json.NewDecoder(strings.NewReader(text))
	keys := -2 // the braces
	for _, err := tokens.Token(); err != io.EOF; _, err = tokens.Token() {
		keys++
	}
	if keys/2 != len(line) {
		return line, errors.New("a key twice")
	}
	return line, nil
}

// TestStormOfRefusals lets thousands of webhooks be refused: few lines tell of
// it, no refusal is uncounted, and every id in them was in an answer.
func TestStormOfRefusals(t *testing.T) {
	const senders, each = 20, 100
	p := launch(t, t.TempDir(), "SPILLWAY_LOG_MIN_FREE=1024TiB")
	body := messageWebhook("wamid.refused", "15550001001", "hello")
	began := time.Now()
	var mu sync.Mutex
	ids := make(map[string]bool)
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for range each {
				id := p.postRefused(body)
				mu.Lock()
				ids[id] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if len(ids) != senders*each {
		t.Errorf("%d ids in %d answers", len(ids), senders*each)
	}
	if count := p.metric("spillway_logger_suppressed_lines_total"); count == "0" {
		t.Error("no line left out is counted")
	}
	if count := p.metric(`spillway_logger_lines_total{level="error"}`); count == "0" {
		t.Error("no line of an error is counted")
	}
	if p.terminate(15*time.Second) != 0 {
		t.Error("it did not end in order")
	}
	written, suppressed := 0, 0
	for _, line := range p.logLines() {
		if line["msg"] != "webhooks are refused with 503: the log takes none" {
			continue
		}
		written++
		if left, is := line["suppressed"].(float64); is {
			suppressed += int(left)
		}
		if id, _ := line["request_id"].(string); !ids[id] {
			t.Errorf("no answer had the id of %v", line)
		}
	}
	if written+suppressed != senders*each {
		t.Errorf("%d lines and %d left out, want %d together", written, suppressed, senders*each)
	}
	if most := 6 + int(time.Since(began)/(10*time.Second)); written > most {
		t.Errorf("%d lines, want at most %d", written, most)
	}
}

// postRefused posts a webhook that is refused, and gives the id of the answer.
func (p *process) postRefused(body []byte) string {
	request, err := http.NewRequest(http.MethodPost, p.webhookURL(), bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	request.Header.Set("X-Hub-Signature-256", ingest.Sign(testAppSecret, body))
	response, err := poster.Do(request)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		p.t.Errorf("answered %d, want 503", response.StatusCode)
	}
	return response.Header.Get("X-Request-Id")
}

// brokenStore and brokenLog fail.
type brokenStore struct{ store.Contacts }

func (brokenStore) Contact(context.Context, string, string) (store.Contact, error) {
	return store.Contact{}, errors.New("the store is gone")
}

type brokenLog struct{ logSource }

func (brokenLog) Stat(context.Context) (logStat, error) {
	return logStat{}, errors.New("the disk is gone")
}

// TestAdminRequestID wants the id of each 500 of the admin listener in its line,
// and none in other answers.
func TestAdminRequestID(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	a := &admin{mux: http.NewServeMux(), contacts: brokenStore{}, logger: logger, ready: func() error { return errors.New("full") }}
	a.showLog(brokenLog{})
	a.mux.HandleFunc("GET /contacts", a.showContact)
	a.mux.HandleFunc("GET /readyz", a.readyz)
	for _, c := range []struct {
		path string
		want int
	}{
		{"/contacts?waba=1&id=15550001001", 500}, {logStatPath, 500},
		{logRecordsPath + "?lane=slow", 400}, {"/readyz", 503}, {"/nothing", 404},
	} {
		out.Reset()
		request := httptest.NewRequest(http.MethodGet, c.path, nil)
		request.Header.Set("X-Request-Id", "their own")
		answer := httptest.NewRecorder()
		a.mux.ServeHTTP(answer, request)
		id := answer.Header().Get("X-Request-Id")
		if answer.Code != c.want || (c.want == 500) != (uuid.Validate(id) == nil) {
			t.Errorf("%s: answered %d with the id %q", c.path, answer.Code, id)
		}
		if c.want != 500 {
			if out.Len() > 0 {
				t.Errorf("%s: logged %s", c.path, &out)
			}
			continue
		}
		line, err := parseLogLine(out.String())
		if err != nil || line["request_id"] != id || line["level"] != "ERROR" || strings.Contains(out.String(), "15550001001") {
			t.Errorf("%s: answered with the id %s, logged %s (%v)", c.path, id, &out, err)
		}
	}
}

// TestLogOutput wants what serve is told about its log to be heeded.
func TestLogOutput(t *testing.T) {
	for _, c := range []struct{ format, level, want string }{
		{"text", "info", `level=INFO msg=listening`},
		{"json", "debug", `"level":"INFO","msg":"listening"`},
		{"json", "warn", ``},
	} {
		var out bytes.Buffer
		lines, err := newLogger(&out, c.format, c.level)
		if err != nil {
			t.Fatal(err)
		}
		slog.New(lines).Info("listening")
		lines.Flush()
		if got := out.String(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s from %s: wrote %s", c.format, c.level, strconv.Quote(got))
		}
	}
	for _, wrong := range [][2]string{{"xml", "info"}, {"text", "trace"}, {"text", "info+1"}} {
		if _, err := newLogger(io.Discard, wrong[0], wrong[1]); err == nil {
			t.Errorf("%v is allowed", wrong)
		}
	}
}
