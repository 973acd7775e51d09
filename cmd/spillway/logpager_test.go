package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"spillway/wal"
)

// serveLog answers for a log as a receiver does, and counts the answers under way.
func serveLog(t *testing.T, log *wal.Log) (remote *remoteLog, open *atomic.Int64) {
	t.Helper()
	mux := http.NewServeMux()
	newLogDesk(&localLog{log: log}, slog.New(slog.DiscardHandler)).register(mux)
	open = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	remote, err := newRemoteLog(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return remote, open
}

// TestPager reads more than a page by count and by size: all comes once and in
// order, and while it is handed on no answer is open.
func TestPager(t *testing.T) {
	const small, large = 2*fetchRecords + 7, 9
	data := numberedLog(t, small, 0)
	c := wal.DefaultConfig()
	c.Dir, c.MinFree = data+"/log", 0
	log, err := wal.Open(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range large {
		appendRecord(t, log, wal.Bulk, wal.Record{Received: time.Now(), Body: make([]byte, 1<<20)})
	}
	remote, open := serveLog(t, log)
	closed := func() error {
		for deadline := time.Now().Add(10 * time.Second); open.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("an answer is open while a record is handed on")
			}
		}
		return nil
	}
	for _, test := range []struct {
		query       recordQuery
		first, last map[string]uint64
	}{
		{recordQuery{Lanes: wal.Lanes[:]}, map[string]uint64{"express": 1, "bulk": 1}, map[string]uint64{"express": small, "bulk": large}},
		{recordQuery{Lanes: wal.Lanes[:1], From: 5, To: small - 1}, map[string]uint64{"express": 5}, map[string]uint64{"express": small - 1}},
		{recordQuery{Lanes: wal.Lanes[:1], From: small, To: 2 * small}, map[string]uint64{"express": small}, map[string]uint64{"express": small}},
	} {
		next := test.first
		err := remote.Records(t.Context(), test.query, func(e logEntry) error {
			switch {
			case e.Last != test.last[e.Lane]:
				return fmt.Errorf("it is to end with %s record %d", e.Lane, e.Last)
			case e.Record == nil:
				return nil
			case e.Seq != next[e.Lane]:
				return fmt.Errorf("%s record %d comes for %d", e.Lane, e.Seq, next[e.Lane])
			}
			next[e.Lane]++
			return closed()
		})
		if err != nil {
			t.Fatal(err)
		}
		for lane, last := range test.last {
			if next[lane] != last+1 {
				t.Errorf("%s ends before record %d, want %d", lane, next[lane], last+1)
			}
		}
	}
}

// TestPagerGoesOnAfterWhatIsGone has records trimmed between two pages.
func TestPagerGoesOnAfterWhatIsGone(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		w.Header().Set("Content-Type", "application/x-ndjson")
		switch len(asked) {
		case 1: // cut by its size
			_ = json.NewEncoder(w).Encode(logLine{Entry: &logEntry{Lane: "bulk", Seq: 1, Last: 9, Record: &logRecord{Body: make([]byte, fetchBytes)}}})
		case 2:
			fmt.Fprint(w, `{"entry":{"lane":"bulk","seq":2,"last":9,"gap":{"through":5,"trimmed":true}}}{"entry":{"lane":"bulk","seq":6,"last":9,"record":{}}}{"end":true}`)
		}
	}))
	defer server.Close()
	remote, err := newRemoteLog(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	seen := ""
	err = remote.Records(t.Context(), recordQuery{Lanes: wal.Lanes[1:], From: 1, App: "a"}, func(e logEntry) error {
		seen += fmt.Sprint(e.Seq, e.Gap != nil, " ")
		return nil
	})
	if err != nil || seen != "1 false 2 true 6 false " || fmt.Sprint(asked) != "[app=a&from=1&lane=bulk after=1&app=a&lane=bulk&to=9]" {
		t.Errorf("got %s, %v; asked %q", seen, err, asked)
	}
}
