package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"spillway/bench/ack"
	"spillway/dispatch/event"
	"spillway/ingest"
	"spillway/wal"
)

// TestLogDrain kills a receiver that has dispatched nothing, and drains what it
// left behind: into its own store, and into that of another receiver.
func TestLogDrain(t *testing.T) {
	withoutData(t)
	dead := t.TempDir()
	p := startTargetProcess(t, ack.Paused, dead)
	const webhooks = 60
	want := map[string]bool{}
	for i := range webhooks {
		wamid, body := fmt.Sprintf("wamid.drain.%d", i), []byte(nil)
		if i%3 == 0 {
			body = messageWebhook(wamid, "15550001001", "Hello!")
			want[event.UID(event.MessageNew, wamid).String()] = true
		} else {
			body = statusWebhook(wamid, "15550001001", "sent")
			want[event.UID(event.MessageStatus, event.StatusIdentity(wamid, "sent", "")).String()] = true
		}
		if status := post(p.webhookURL(), body, ingest.Sign(targetSecret, body)); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
	}
	drain := func(flags ...string) outcome {
		return spillway(t, "", append([]string{"log", "drain", "--data", dead}, flags...)...)
	}
	if got := drain(); got.code != exitFailure || got.stderr != "spillway: the log in "+dead+"/log is in use by a running process: only that of a receiver that has ended can be drained, and a running one dispatches by itself\n" {
		t.Errorf("got %+v", got)
	}
	p.kill()

	live := t.TempDir()
	other := startFile(t, logConfigFile(t, live, bothApps))
	file := logConfigFile(t, live, bothApps)
	if got := drain("--config", file); got.code != exitFailure || got.stderr != "spillway: the store in "+live+"/store is in use by a running receiver: stop it, run this again, and start it\n" {
		t.Errorf("got %+v", got)
	}
	other.terminate(shutdownTimeout)
	const events = webhooks + 1 // and a new contact
	for _, round := range []struct {
		name, store, config string
		express, bulk       uint64
		fresh, duplicate    int64
	}{
		{"into another store", live, file, 20, 40, events, 0},
		{"again", live, file, 0, 0, 0, 0},
		{"into its own store", dead, "", 0, 0, events, 0},
	} {
		got := drain("--config", round.config)
		if got.code != exitOK || strings.Contains(got.stderr, "level=ERROR") {
			t.Fatalf("%s: got %+v", round.name, got)
		}
		var d drained
		decodeLine(t, got.stdout, &d)
		if d.Log != filepath.Join(dead, "log") || d.Store != filepath.Join(round.store, "store") ||
			d.Records["express"] != round.express || d.Records["bulk"] != round.bulk ||
			d.Events["fresh"] != round.fresh || d.Events["duplicate"] != round.duplicate {
			t.Errorf("%s: got %s", round.name, got.stdout)
		}
	}
	for _, data := range []string{dead, live} {
		seen := map[string]int{}
		for _, e := range start(t, data).gather(webhooks, caused) {
			seen[e.UID]++
		}
		for uid := range want {
			if seen[uid] != 1 {
				t.Errorf("%s came %d times", uid, seen[uid])
			}
		}
	}
}

// TestLogDrainFailover drains a log whose records are in its failover folder alone,
// with both folders mounted elsewhere than they were.
func TestLogDrainFailover(t *testing.T) {
	withoutData(t)
	base := t.TempDir()
	path := func(parts ...string) string { return filepath.Join(append([]string{base}, parts...)...) }
	const webhooks = 10
	writeStalled(t, path("data", "log"), path("second"), func(log *wal.Log) {
		for i := range webhooks {
			body := statusWebhook(fmt.Sprintf("wamid.stalled.%d", i), "15550001001", "sent")
			appendRecord(t, log, wal.Bulk, signed(t, "default", targetSecret, body))
		}
	})
	writeStalled(t, path("stranger", "log"), path("strangers"), func(*wal.Log) {})
	if err := errors.Join(os.Rename(path("data"), path("old")), os.Rename(path("second"), path("second.old"))); err != nil {
		t.Fatal(err)
	}
	drain := func(flags ...string) outcome {
		return spillway(t, "", append([]string{"log", "drain", "--data", path("old")}, flags...)...)
	}
	empty := t.TempDir()
	for _, c := range []struct{ dir, want string }{
		{"", "records may be in " + path("second") + ","},
		{path("strangers"), "records may be in " + path("second") + ","},
		{empty, "--failover-dir " + empty + " is no folder that was"},
		{path("nowhere"), "--failover-dir " + path("nowhere") + " is no folder that was"},
	} {
		if got := drain("--failover-dir", c.dir); got.code != exitFailure || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: got %+v", c.dir, got)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	got := drain("--failover-dir", path("second.old"))
	if got.code != exitOK {
		t.Fatalf("got %+v", got)
	}
	var d drained
	decodeLine(t, got.stdout, &d)
	if d.Records["bulk"] != webhooks || d.Events["fresh"] != webhooks {
		t.Errorf("got %s", got.stdout)
	}
}

// writeStalled writes a log whose commits go to its failover folder alone.
func writeStalled(t *testing.T, dir, second string, write func(*wal.Log)) {
	t.Helper()
	c := wal.DefaultConfig()
	c.Dir, c.FailoverDir, c.MinFree = dir, second, 0
	c.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if filepath.Dir(op.Path) == dir && filepath.Ext(op.Path) == ".log" && op.Kind == errorfs.OpFileWrite {
			return errors.New("disk on fire")
		}
		return nil
	}))
	log, err := wal.Open(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(log)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogDrainRefuses(t *testing.T) {
	withoutData(t)
	empty := t.TempDir()
	if got := spillway(t, "", "log", "drain", "--data", empty); got.code != exitFailure || !strings.Contains(got.stderr, "there is no log in "+empty+"/log: --data is") {
		t.Errorf("got %+v", got)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

// TestLogDeadRetryApplies has a letter whose item can be decoded, as one of an
// older version: its event comes out, and the letter goes.
func TestLogDeadRetryApplies(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	file := logConfigFile(t, data, bothApps)
	p := startFile(t, file)
	body := messageWebhook("wamid.once", "15550001001", "Hello!")
	if status := post(p.webhookURL(), body, ingest.Sign(deskSecret, body)); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	p.gather(1, caused)
	p.terminate(shutdownTimeout)
	lost := messageWebhook("wamid.lost", "15550001001", "Hello?")
	writeLog(t, data, func(log *wal.Log) {
		r := signed(t, "desk", deskSecret, lost)
		for item, path := range []string{"entry[0].changes[0].value.messages[0]", "entry[0].changes[0].value.messages[1]"} {
			letter := wal.DeadLetter{Lane: wal.Express, Seq: 1, Item: item, Received: r.Received, App: r.App, Path: path, Reason: "not known yet"}
			if item == 0 {
				letter.Signature, letter.Body = r.Signature, r.Body
			}
			if _, err := log.Bury(letter); err != nil {
				t.Fatal(err)
			}
		}
	})
	got := spillway(t, "", "log", "dead", "retry", "express", "1", "0", "--config", file)
	if want := (outcome{exitOK, `{"lane":"express","seq":1,"item":0,"result":"applied","fresh":1,"duplicate":0,"stale":0,"replayed":0}` + "\n", ""}); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := spillway(t, "", "log", "dead", "show", "express", "1", "1", "--config", file); !strings.Contains(got.stdout, "wamid.lost") {
		t.Errorf("the letter that is left has lost the body: %+v", got)
	}
	p = startFile(t, file)
	got = spillway(t, "", "log", "dead", "retry", "--all", "--config", file, "--admin", p.admin)
	if want := (outcome{exitOK, `{"lane":"express","seq":1,"item":1,"result":"applied","fresh":0,"duplicate":1,"stale":0,"replayed":0}` + "\n", ""}); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := spillway(t, "", "log", "dead", "list", "--admin", p.admin); got != (outcome{}) {
		t.Errorf("got %+v", got)
	}
	wamids := map[any]int{}
	for _, e := range p.gather(2, caused) {
		wamids[e.Payload["wamid"]]++
	}
	if wamids["wamid.once"] != 1 || wamids["wamid.lost"] != 1 {
		t.Errorf("got %v", wamids)
	}
}
