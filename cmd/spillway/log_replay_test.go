package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/bench/ack"
	"spillway/ingest"
	"spillway/wal"
)

// TestLogReplayToURL posts a log to a second receiver, whose subscribers get
// each event once, with the same uids; and to one that lacks a secret.
func TestLogReplayToURL(t *testing.T) {
	withoutData(t)
	file := logConfigFile(t, t.TempDir(), bothApps)
	p := startFile(t, file)
	var book logbook
	book.fill(t, p)
	events := uidsOf(p, logbookEvents)

	other := startFile(t, logConfigFile(t, t.TempDir(), bothApps))
	for range 2 {
		got := spillway(t, "", "log", "replay", "--admin", p.admin, "--to-url", other.public)
		want := outcome{exitOK, `{"lane":"express","posted":6,"refused":0,"answers":{"200":6},"next":7}` + "\n" +
			`{"lane":"bulk","posted":2,"refused":0,"answers":{"200":2},"next":3}` + "\n", ""}
		if got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	}
	if again := uidsOf(other, logbookEvents); !slices.Equal(again, events) {
		t.Errorf("the second receiver has\n%q\nwant\n%q", again, events)
	}

	lacking := startFile(t, logConfigFile(t, t.TempDir(), "\n  - {name: desk, verify_token: v, app_secrets: [\""+deskSecret+"\"]}"))
	got := spillway(t, "", "log", "replay", "--admin", p.admin, "--lane", "express", "--to-url", lacking.public)
	want := outcome{exitFailure, `{"lane":"express","posted":6,"refused":4,"answers":{"200":2,"403":4},"next":7}` + "\n",
		"spillway: 4 webhooks were answered 403: that receiver lacks the app secret they are signed with\nspillway: 4 webhooks were refused\n"}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// TestLogReplayOfOldRecords needs --force, whoever has the log open, and then
// marks the events.
func TestLogReplayOfOldRecords(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	writeLog(t, data, func(log *wal.Log) {
		old := signed(t, "desk", deskSecret, messageWebhook("wamid.old", "15550001001", "Hello!"))
		old.Received = time.Now().Add(-9 * 24 * time.Hour)
		appendRecord(t, log, wal.Express, old)
	})
	file := logConfigFile(t, data, bothApps)
	replay := func(flags ...string) outcome {
		return spillway(t, "", append([]string{"log", "replay", "--again", "--lane", "express", "--config", file}, flags...)...)
	}
	forced := outcome{exitOK, `{"lane":"express","from":1,"to":1,"seq":1,"records":1,"fresh":0,"duplicate":0,"stale":0,"replayed":1,"dead":0}` + "\n", ""}
	check := func(flags ...string) {
		t.Helper()
		if got := replay(flags...); got.code != exitFailure || got.stdout != "" || !strings.Contains(got.stderr, "older than the dedupe window: 1 of the records, express 1 to 1") {
			t.Errorf("got %+v", got)
		}
		if got := replay(append(flags, "--force")...); got != forced {
			t.Errorf("got %+v\nwant %+v", got, forced)
		}
	}
	p := startFile(t, file)
	p.waitDispatched(1, 0)
	check("--admin", p.admin)
	p.terminate(shutdownTimeout)
	check()
	p = startFile(t, file)
	marked, uids := 0, map[string]bool{}
	for _, e := range p.gather(3, caused) {
		if !caused(e) {
			continue
		}
		uids[e.UID] = true
		if e.Payload["replayed"] == true {
			marked++
		}
	}
	if marked != 2 || len(uids) != 1 {
		t.Errorf("%d events are marked, with %d uids", marked, len(uids))
	}
}

// TestLogReplayOfABacklog has a receiver that dispatches nothing: its records are
// left to dispatching, whoever has the log open, and it is said.
func TestLogReplayOfABacklog(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	p := startTargetProcess(t, ack.Paused, data)
	for i := range 3 {
		body := messageWebhook(fmt.Sprintf("wamid.%d", i), "15550001001", "Hello!")
		if status := post(p.webhookURL(), body, ingest.Sign(targetSecret, body)); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	check := func(flags ...string) {
		t.Helper()
		got := spillway(t, "", append([]string{"log", "replay", "--again", "--lane", "express"}, flags...)...)
		if got != (outcome{exitOK, `{"lane":"express","from":1,"to":0,"seq":0,"records":0,"undispatched":3,"fresh":0,"duplicate":0,"stale":0,"replayed":0,"dead":0}` + "\n",
			"spillway: express: left out the last 3 records, which are not known to be dispatched: their events come out without a replay\n"}) {
			t.Errorf("got %+v", got)
		}
		got = spillway(t, "", append([]string{"log", "replay", "--again", "--lane", "express", "--to", "2"}, flags...)...)
		if got.code != exitFailure || got.stdout != "" || !strings.HasPrefix(got.stderr, "spillway: not dispatched yet: express record 2, dispatching has come to 0") {
			t.Errorf("got %+v", got)
		}
	}
	check("--admin", p.admin)
	p.kill()
	check("--data", data)
}

// target is a receiver that answers as its function says and keeps what it
// answered with 200.
type target struct {
	*httptest.Server
	mu    sync.Mutex
	taken []string
}

func newTarget(t *testing.T, answer func(body string) int) *target {
	g := &target{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status := answer(string(body))
		if r.URL.Path != "/api/webhook" || r.Header.Get("X-Hub-Signature-256") != ingest.Sign(deskSecret, body) {
			status = http.StatusForbidden
		}
		if status == http.StatusOK {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.taken = append(g.taken, string(body))
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(g.Close)
	return g
}

// numberedLog makes a log whose records hold their sequence.
func numberedLog(t *testing.T, express, bulk int) (data string) {
	t.Helper()
	data = t.TempDir()
	writeLog(t, data, func(log *wal.Log) {
		for lane, n := range map[wal.Lane]int{wal.Express: express, wal.Bulk: bulk} {
			for i := range n {
				appendRecord(t, log, lane, signed(t, "desk", deskSecret, fmt.Appendf(nil, "%s %d", lane, i+1)))
			}
		}
	})
	return data
}

// TestLogReplayStopsAndGoesOn has a receiver that fails in the middle: the
// replay says where to go on, and nothing is left out.
func TestLogReplayStopsAndGoesOn(t *testing.T) {
	withoutData(t)
	t.Setenv("SPILLWAY_DATA", numberedLog(t, 9, 2))
	var down bool
	var mu sync.Mutex
	g := newTarget(t, func(body string) int {
		mu.Lock()
		defer mu.Unlock()
		if down = down || body == "express 5"; down {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	replay := func(flags ...string) outcome {
		return spillway(t, "", append([]string{"log", "replay", "--to-url", g.URL, "--concurrency", "1", "--retry-for", "150ms"}, flags...)...)
	}
	got := replay("--since", "1h")
	host := strings.TrimPrefix(g.URL, "http://")
	if got.code != exitFailure || got.stdout != `{"lane":"express","posted":4,"refused":0,"answers":{"200":4},"next":5}`+"\n" ||
		!strings.HasPrefix(got.stderr, "spillway: stopped at express record 5: "+host+": answered 503 (tried for ") ||
		!regexp.MustCompile(`; go on with --lane express --from 5, then --lane bulk --since 20[-0-9]+T[:0-9]+Z\n$`).MatchString(got.stderr) {
		t.Errorf("got %+v", got)
	}
	g.Close()
	if got := replay("--lane", "bulk", "--to", "2"); got.code != exitFailure || !strings.Contains(got.stderr, "stopped at bulk record 1: "+host) ||
		!strings.Contains(got.stderr, "connection refused") || !strings.HasSuffix(got.stderr, "go on with --lane bulk --from 1 --to 2\n") {
		t.Errorf("got %+v", got)
	}
	taken := g.taken
	g = newTarget(t, func(string) int { return http.StatusOK })
	for _, flags := range []string{"--lane express --from 5", "--lane bulk"} {
		if got := replay(strings.Fields(flags)...); got.code != exitOK {
			t.Errorf("got %+v", got)
		}
	}
	want := "express 1,express 2,express 3,express 4,express 5,express 6,express 7,express 8,express 9,bulk 1,bulk 2"
	if all := strings.Join(append(taken, g.taken...), ","); all != want {
		t.Errorf("got %s, want %s", all, want)
	}
}

// interrupted is a source whose replay is interrupted after some records of a
// lane.
type interrupted struct {
	logSource
	at   wal.Lane
	seq  uint64
	stop context.CancelFunc
}

func (i *interrupted) Replay(ctx context.Context, q replayQuery, _ func(replayResult)) (replayResult, error) {
	result := replayResult{Lane: q.Lane.String(), Seq: 9, Records: 9}
	if q.Lane == i.at {
		i.stop()
		result.Seq, result.Records = i.seq, int64(i.seq)
	}
	return result, ctx.Err()
}

// TestLogReplayIsInterrupted: it says how to go on with all that is left, and not
// with more.
func TestLogReplayIsInterrupted(t *testing.T) {
	since := time.Date(2026, 1, 31, 15, 4, 5, 999, time.UTC)
	for _, test := range []struct {
		query recordQuery
		lane  wal.Lane
		seq   uint64
		want  string
	}{
		{recordQuery{Lanes: wal.Lanes[:], Since: since}, wal.Express, 0, "run it again"},
		{recordQuery{Lanes: wal.Lanes[:], Since: since}, wal.Express, 4, "go on with --lane express --from 5, then --lane bulk --since 2026-01-31T15:04:05Z"},
		{recordQuery{Lanes: wal.Lanes[:], Since: since}, wal.Bulk, 0, "go on with --lane bulk --since 2026-01-31T15:04:05Z"},
		{recordQuery{Lanes: wal.Lanes[:]}, wal.Bulk, 4, "go on with --lane bulk --from 5"},
		{recordQuery{Lanes: wal.Lanes[1:], From: 2, To: 8}, wal.Bulk, 4, "go on with --lane bulk --from 5 --to 8"},
		{recordQuery{Lanes: wal.Lanes[1:], From: 2, To: 8}, wal.Bulk, 0, "run it again"},
	} {
		ctx, stop := context.WithCancel(t.Context())
		source := &interrupted{at: test.lane, seq: test.seq, stop: stop}
		err := new(replayOptions).dispatchAgain(ctx, source, test.query, newJob(io.Discard), func(replayResult) error { return nil })
		if want := "interrupted; " + test.want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestReposter fails at random: each record is answered once, and no record
// begins before the one that stands its limit before it was answered.
func TestReposter(t *testing.T) {
	const records, limit = 300, 8
	var mu sync.Mutex
	tries := map[string]int{}
	answered := map[int]bool{}
	g := newTarget(t, func(body string) int {
		mu.Lock()
		defer mu.Unlock()
		n, _ := strconv.Atoi(body)
		if n >= limit && !answered[n-limit] {
			t.Errorf("%d begins before %d was answered", n, n-limit)
		}
		if tries[body]++; n%60 == 3 && tries[body] < 3 {
			return http.StatusServiceUnavailable
		}
		answered[n] = true
		if n%20 == 4 {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusOK
	})
	target, err := url.Parse(g.URL + "/api/webhook")
	if err != nil {
		t.Fatal(err)
	}
	p := newReposter(target, limit, time.Minute)
	for n := range records {
		r := signed(t, "desk", deskSecret, []byte(strconv.Itoa(n)))
		entry := logEntry{Lane: "bulk", Seq: uint64(n + 1), Record: &logRecord{Signature: r.Signature, Body: r.Body}}
		if err := p.take(t.Context(), &entry); err != nil {
			t.Fatal(err)
		}
		clear(r.Body) // what was given is the reader's
	}
	result, err := p.finish("bulk", nil)
	if err != nil || result.Posted != records || result.Refused != 15 || result.Answers["413"] != 15 || result.Next != records+1 || len(g.taken) != records-15 {
		t.Errorf("got %+v, %v; %d taken", result, err, len(g.taken))
	}
}

// TestReposterAtAWrongURL ends at the first answer: no record would be taken.
func TestReposterAtAWrongURL(t *testing.T) {
	g := httptest.NewServer(http.NotFoundHandler())
	defer g.Close()
	target, err := url.Parse(g.URL + "/wrong")
	if err != nil {
		t.Fatal(err)
	}
	p := newReposter(target, 2, time.Hour)
	r := signed(t, "desk", deskSecret, []byte("body"))
	if err := p.take(t.Context(), &logEntry{Seq: 7, Record: &logRecord{Signature: r.Signature, Body: r.Body}}); err != nil {
		t.Fatal(err)
	}
	result, err := p.finish("bulk", nil)
	if err == nil || !strings.Contains(err.Error(), "answers 404 at /wrong") || result.Posted != 0 || result.Next != 7 {
		t.Errorf("got %+v, %v", result, err)
	}
}

// TestReposterIsCancelled ends in the middle of waiting: what is under way ends.
func TestReposterIsCancelled(t *testing.T) {
	begun := make(chan struct{}, 8)
	g := newTarget(t, func(string) int {
		begun <- struct{}{}
		return http.StatusServiceUnavailable
	})
	target, err := url.Parse(g.URL + "/api/webhook")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := newReposter(target, 2, time.Hour)
	for n := range 2 {
		r := signed(t, "desk", deskSecret, []byte(strconv.Itoa(n)))
		if err := p.take(ctx, &logEntry{Seq: uint64(n + 7), Record: &logRecord{Signature: r.Signature, Body: r.Body}}); err != nil {
			t.Fatal(err)
		}
	}
	<-begun
	cancel()
	if result, err := p.finish("bulk", ctx.Err()); err != context.Canceled || result.Next != 7 || result.Posted != 0 {
		t.Errorf("got %+v, %v", result, err)
	}
}
