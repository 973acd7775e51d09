package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/ingest"
	"spillway/wal"
)

// signed makes a record as the receiver would.
func signed(t *testing.T, app, secret string, body []byte) wal.Record {
	t.Helper()
	signature, err := hex.DecodeString(strings.TrimPrefix(ingest.Sign(secret, body), "sha256="))
	if err != nil {
		t.Fatal(err)
	}
	return wal.Record{Received: time.Now(), App: app, Signature: signature, Body: body}
}

// writeLog appends to the log of a data folder.
func writeLog(t *testing.T, data string, write func(*wal.Log)) {
	t.Helper()
	c := wal.DefaultConfig()
	c.Dir, c.MinFree = filepath.Join(data, "log"), 0
	log, err := wal.Open(c, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	write(log)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendRecord(t *testing.T, log *wal.Log, lane wal.Lane, r wal.Record) {
	t.Helper()
	if err := log.Append(lane, r); err != nil {
		t.Fatal(err)
	}
}

func TestLogVerifyFinds(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	writeLog(t, data, func(log *wal.Log) {
		forged := signed(t, "shop", shopSecret, []byte("{}"))
		forged.Body = []byte("{ }")
		appendRecord(t, log, wal.Express, signed(t, "shop", shopSecret, []byte("1")))
		appendRecord(t, log, wal.Express, forged)
		appendRecord(t, log, wal.Express, signed(t, "desk", shopSecret, []byte("2"))) // of another app
		appendRecord(t, log, wal.Bulk, signed(t, "shop", shopOldSecret, []byte("3")))
		appendRecord(t, log, wal.Bulk, wal.Record{Received: time.Now(), App: "shop", Body: []byte("4")})
	})
	const shopAlone = `
  - {name: shop, verify_token: v, app_secrets: ["` + shopSecret + `"]}`
	tests := []struct {
		name, apps, flags string
		want              outcome
	}{
		{"all secrets", bothApps, "", outcome{exitFailure,
			"app desk: 0 by secret 1, 1 by none\napp shop: 1 by secret 1, 1 by secret 2, 2 by none\n",
			"spillway: express record 2: no secret of app shop has signed it\nspillway: express record 3: no secret of app desk has signed it\n" +
				"spillway: bulk record 2: no secret of app shop has signed it\nspillway: 3 of 5 records are signed by no secret of their app\n"}},
		{"an app and a secret are gone", shopAlone, "--lane express --lane bulk", outcome{exitFailure,
			"app desk: 1 by none (no secret of it is in the config)\napp shop: 1 by secret 1, 3 by none\n",
			"spillway: express record 2: no secret of app shop has signed it\nspillway: express record 3: no secret of app desk has signed it\n" +
				"spillway: bulk record 1: no secret of app shop has signed it\nspillway: bulk record 2: no secret of app shop has signed it\n" +
				"spillway: 4 of 5 records are signed by no secret of their app\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"log", "verify", "--config", logConfigFile(t, data, test.apps)}, strings.Fields(test.flags)...)
			if got := spillway(t, "", args...); got != test.want {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
	got := spillway(t, "", "log", "verify", "--data", data)
	if got.code != exitUsage || !strings.Contains(got.stderr, "no app secret: name the config with --config") {
		t.Errorf("without secrets: got %+v", got)
	}
	if err := os.WriteFile(filepath.Join(data, "dev.env"), []byte("SPILLWAY_APP_SECRET="+shopSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := spillway(t, "", "log", "verify", "--data", data); !strings.Contains(got.stdout, "app shop: 4 by none (no secret of it") {
		t.Errorf("with dev.env: got %+v", got)
	}
}

// TestLogReadsAroundDamage flips a bit in a table of the log: the records it
// hits are named, and all others are read.
func TestLogReadsAroundDamage(t *testing.T) {
	withoutData(t)
	data := t.TempDir()
	const records = 40
	writeLog(t, data, func(log *wal.Log) {
		for i := range records {
			appendRecord(t, log, wal.Express, signed(t, "desk", deskSecret, bytes.Repeat([]byte{'a' + byte(i%26)}, 10<<10)))
		}
	})
	writeLog(t, data, func(*wal.Log) {}) // opening it makes a table of it
	tables, err := filepath.Glob(filepath.Join(data, "log", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	damaged := 0
	for _, table := range tables {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < records*10<<10 {
			continue
		}
		text[len(text)/2] ^= 1
		if err := os.WriteFile(table, text, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged != 1 {
		t.Fatalf("%d tables damaged of %d", damaged, len(tables))
	}
	file := logConfigFile(t, data, bothApps)
	verified := spillway(t, "", "log", "verify", "--config", file)
	var first, last, good, unread int
	if _, err := fmt.Sscanf(verified.stderr, "spillway: express records %d to %d cannot be read: ", &first, &last); err != nil {
		t.Fatalf("%v: %+v", err, verified)
	}
	if _, err := fmt.Sscanf(verified.stdout, "app desk: %d by secret 1, 0 by none", &good); err != nil {
		t.Fatalf("%v: %+v", err, verified)
	}
	unread = last - first + 1
	if verified.code != exitFailure || good+unread != records || unread > 5 || !strings.HasSuffix(verified.stderr, fmt.Sprintf("spillway: %d cannot be read\n", unread)) {
		t.Errorf("%d to %d of %d: got %+v", first, last, records, verified)
	}
	printed := spillway(t, "", "log", "cat", "--config", file)
	lines := decodeLines[recordHead](t, printed.stdout)
	if printed.code != exitFailure || len(lines) != good || lines[first-2].Seq != uint64(first-1) || lines[first-1].Seq != uint64(last+1) {
		t.Errorf("%d lines, %q", len(lines), printed.stderr)
	}
}
