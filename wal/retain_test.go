package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clock is a config's time, moved by the test.
type clock struct{ at time.Time }

func newClock(c *Config) *clock {
	k := &clock{at: time.Unix(1_700_000_000, 0)}
	c.now = func() time.Time { return k.at }
	return k
}

func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// TestRetain: a record goes when it is both released and old.
func TestRetain(t *testing.T) {
	config := memConfig()
	config.Retain = time.Hour
	k := newClock(&config)
	l := open(t, config)
	tick(t, l)
	for range 6 { // received at 0, 10, … 50 minutes
		appendAt(t, l, Bulk, k.at)
		appendAt(t, l, Express, k.at)
		k.pass(10 * time.Minute)
	}
	l.Release(Bulk, 3)
	steps := []struct {
		pass           time.Duration
		release        uint64
		bulk, untilNow uint64
	}{
		{0, 0, 1, 6},                 // 60 minutes: the first is just one hour old
		{5 * time.Minute, 0, 2, 6},   // 65: the first is over it
		{time.Hour, 0, 4, 6},         // all are old, three are released
		{time.Hour, 4, 5, 6},         // one more released
		{30 * time.Second, 6, 5, 6},  // looked at age less than a minute ago
		{31 * time.Second, 6, 7, 6},  // all gone
		{24 * time.Hour, 1000, 7, 6}, // nothing left to go
	}
	for i, s := range steps {
		k.pass(s.pass)
		l.Release(Bulk, s.release)
		tick(t, l)
		if first, head := l.First(Bulk), l.Head(Bulk); first != s.bulk || head != s.untilNow {
			t.Errorf("step %d: first %d, head %d, want %+v", i, first, head, s)
		}
		if first := l.First(Express); first != 1 {
			t.Errorf("step %d: the first of express is %d: nothing of it is released", i, first)
		}
	}
}

// TestAllTrimmed: sequences go on where they were when nothing is left.
func TestAllTrimmed(t *testing.T) {
	config := memConfig()
	config.Retain = 0
	k := newClock(&config)
	l := open(t, config)
	appendAt(t, l, Bulk, k.at)
	appendAt(t, l, Bulk, k.at)
	hash, err := l.Hash(Bulk, 2)
	if err != nil {
		t.Fatal(err)
	}
	l.Release(Bulk, 2)
	k.pass(time.Hour)
	tick(t, l)
	if kept := l.keptBytes(); l.First(Bulk) != 3 || kept != 0 {
		t.Fatalf("first %d, %d bytes kept", l.First(Bulk), kept)
	}
	closeLog(t, l)

	l = open(t, config)
	if l.First(Bulk) != 3 || l.Head(Bulk) != 2 || l.Released(Bulk) != 2 || l.keptBytes() != 0 {
		t.Errorf("first %d, head %d, released %d, %d bytes", l.First(Bulk), l.Head(Bulk), l.Released(Bulk), l.keptBytes())
	}
	if got, err := l.Hash(Bulk, 2); got != hash || err != nil {
		t.Errorf("hash of the last trimmed %x, %v, want %x", got, err, hash)
	}
	appendAt(t, l, Bulk, k.at)
	r := l.Reader(Bulk, 0)
	defer r.Close()
	records, err := r.Next(context.Background(), 10, 1<<20)
	if err != nil || len(records) != 1 || records[0].Seq != 3 {
		t.Errorf("%+v, %v", records, err)
	}
}

// fillLog appends 100 KiB a minute to the lanes in turn.
func fillLog(t *testing.T, l *Log, k *clock, records int) {
	t.Helper()
	for i := range records {
		r := testRecord(100 << 10)
		r.Received = k.at
		if err := l.Append(Lanes[i%2], r); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		k.pass(time.Minute)
	}
}

// TestPressure: near MaxBytes released records of both lanes go before their
// time, the oldest first, but none that is younger than ten minutes.
func TestPressure(t *testing.T) {
	for _, c := range []struct {
		name          string
		records       int
		release       [2]uint64
		express, bulk uint64
	}{
		{"below the mark", 90, [2]uint64{99, 99}, 1, 1},
		{"above it", 98, [2]uint64{99, 99}, 10, 10},
		{"one lane held back", 98, [2]uint64{2, 99}, 3, 17},
		{"none released", 98, [2]uint64{}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := memConfig()
			config.MaxBytes = 100 * (100<<10 + 67)
			k := newClock(&config)
			l := open(t, config)
			fillLog(t, l, k, c.records)
			for i, lane := range Lanes {
				l.Release(lane, c.release[i])
			}
			tick(t, l)
			if e, b := l.First(Express), l.First(Bulk); e != c.express || b != c.bulk {
				t.Errorf("express from %d, bulk from %d, want %d and %d", e, b, c.express, c.bulk)
			}
		})
	}
}

func TestPressureSparesTheYoung(t *testing.T) {
	config := memConfig()
	config.MaxBytes = 2 << 20
	k := newClock(&config)
	l := open(t, config)
	began := k.at
	fillLog(t, l, k, 19) // three too many, one each minute
	l.Release(Express, 10)
	l.Release(Bulk, 9)
	for _, c := range []struct {
		after time.Duration
		first uint64
	}{{10 * time.Minute, 1}, {12 * time.Minute, 2}} {
		k.at = began.Add(c.after)
		tick(t, l)
		if e, b := l.First(Express), l.First(Bulk); e != c.first || b != c.first {
			t.Errorf("after %s express from %d, bulk from %d, want %d", c.after, e, b, c.first)
		}
	}
}

// TestFull: what is not released fills the log, and a release makes room, also
// after a restart in between.
func TestFull(t *testing.T) {
	config := memConfig()
	config.MaxBytes = 1 << 20
	l := open(t, config)
	r := testRecord(100 << 10)
	appended := 0
	for l.Ready() == nil {
		if err := l.Append(Bulk, r); err != nil {
			t.Fatal(err)
		}
		appended++
	}
	if appended != 11 {
		t.Errorf("%d records fitted, want 11", appended)
	}
	if err := l.Append(Express, r); !errors.Is(err, ErrFull) {
		t.Errorf("a full log: %v", err)
	}
	closeLog(t, l)
	l = open(t, config)
	if err := l.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("after a restart: %v", err)
	}
	l.Release(Bulk, 2)
	tick(t, l)
	if err := l.Append(Express, r); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

// TestReclaim: what is trimmed is no longer on disk.
func TestReclaim(t *testing.T) {
	config := dirConfig(t.TempDir())
	config.Retain, config.tick = time.Minute, manual
	k := newClock(&config)
	l := open(t, config)
	r := testRecord(64 << 10)
	r.Received = k.at
	for i := range 64 << 4 { // 64 MiB, in one lane and the other
		if err := l.Append(Lanes[i%2], r); err != nil {
			t.Fatal(err)
		}
	}
	for _, lane := range Lanes {
		l.Release(lane, l.Head(lane))
	}
	// Pebble writes and deletes tables in the background.
	waitForTables(t, config.Dir, func(bytes int64) bool { return bytes >= 16<<20 })
	k.pass(time.Hour)
	tick(t, l)
	l.janitor.reclaimer.group.Wait()
	waitForTables(t, config.Dir, func(bytes int64) bool { return bytes < 1<<20 })
}

// TestCloseWhileReclaiming closes logs in the middle of giving back space: a
// compaction that is called off there would end the process.
func TestCloseWhileReclaiming(t *testing.T) {
	var logs sync.WaitGroup
	for i := range 4 {
		logs.Go(func() {
			for j := range 5 {
				trimAndClose(t, time.Duration(i*j)*100*time.Microsecond)
			}
		})
	}
	logs.Wait()
}

// trimAndClose deletes some tables of a log and closes it after a while.
func trimAndClose(t *testing.T, after time.Duration) {
	config := memConfig()
	config.Retain, config.tick = time.Minute, manual
	k := newClock(&config)
	l, err := Open(config, nil, prometheus.NewRegistry())
	if err != nil {
		t.Error(err)
		return
	}
	r := testRecord(4 << 10)
	r.Received = k.at
	for i := range 300 {
		if err := l.Append(Lanes[i%2], r); err != nil {
			t.Error(err)
		}
		if i%50 == 0 {
			if err := l.db.Flush(); err != nil {
				t.Error(err)
			}
		}
	}
	for _, lane := range Lanes {
		l.Release(lane, l.Head(lane)-1)
	}
	k.pass(time.Hour)
	if err := l.janitor.tick(config.now()); err != nil {
		t.Error(err)
	}
	time.Sleep(after)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func waitForTables(t *testing.T, dir string, enough func(bytes int64) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !enough(tableBytes(t, dir)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("tables take %d bytes after 30 s", tableBytes(t, dir))
		}
	}
}

func tableBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

func letter(lane Lane, seq uint64, item int, at time.Time) DeadLetter {
	return DeadLetter{
		Lane: lane, Seq: seq, Item: item, Received: at.UTC(), App: "default",
		Path: fmt.Sprintf("entry[0].changes[0].value.messages[%d]", item), Reason: "no id",
		Signature: []byte{1, 2}, Body: []byte("{}"),
	}
}

// listDead gives the names of the dead letters, and checks the counts.
func listDead(t *testing.T, l *Log) (names []string) {
	t.Helper()
	var bytes int64
	err := l.Dead(func(d DeadLetter) error {
		names = append(names, fmt.Sprintf("%s %d %d %s", d.Lane, d.Seq, d.Item, d.Reason))
		bytes += int64(deadKeySize + len(d.encode()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.deadCount.Load() != int64(len(names)) || l.deadBytes.Load() != bytes {
		t.Errorf("counts %d letters, %d bytes; there are %d, %d", l.deadCount.Load(), l.deadBytes.Load(), len(names), bytes)
	}
	return names
}

func TestDeadLetters(t *testing.T) {
	config := memConfig()
	config.DeadRetain = 2 * time.Hour
	k := newClock(&config)
	l := open(t, config)
	again := letter(Bulk, 1, 0, k.at)
	again.Reason = "no id at all"
	young := letter(Bulk, 9, WholeRecord, k.at.Add(time.Hour))
	for _, step := range []struct {
		letters []DeadLetter
		added   int
	}{
		{[]DeadLetter{letter(Bulk, 1, 1, k.at), letter(Bulk, 1, 0, k.at)}, 2},
		{[]DeadLetter{letter(Express, 7, 0, k.at)}, 1},
		{[]DeadLetter{again}, 0},        // replaces
		{[]DeadLetter{young, young}, 1}, // twice in one batch
	} {
		if added, err := l.Bury(step.letters...); err != nil || added != step.added {
			t.Fatalf("%d added, %v; want %d", added, err, step.added)
		}
	}
	want := []string{"express 7 0 no id", "bulk 1 0 no id at all", "bulk 1 1 no id", "bulk 9 -1 no id"}
	if got := listDead(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := bury(l, DeadLetter{Item: -2}); err == nil {
		t.Error("took item -2")
	}
	closeLog(t, l)
	l = open(t, config)
	if got := listDead(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a restart %q, want %q", got, want)
	}
	stop := errors.New("stop")
	if err := l.Dead(func(DeadLetter) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a walk that was ended: %v", err)
	}
	k.pass(2*time.Hour + time.Second)
	tick(t, l)
	if got := listDead(t, l); fmt.Sprint(got) != fmt.Sprint(want[3:]) {
		t.Errorf("after their time %q, want %q", got, want[3:])
	}
}

// TestDeadLettersMany are more than go in one step.
func TestDeadLettersMany(t *testing.T) {
	config := memConfig()
	k := newClock(&config)
	l := open(t, config)
	letters := make([]DeadLetter, 2*deadStep+10)
	for i := range letters {
		letters[i] = letter(Bulk, 5, i, k.at)
	}
	if err := bury(l, letters...); err != nil {
		t.Fatal(err)
	}
	k.pass(config.DeadRetain + time.Second)
	tick(t, l)
	if got := listDead(t, l); len(got) != 0 {
		t.Errorf("%d are left", len(got))
	}
}

// TestTrimDeadRemoved: a letter that is removed between the look at its age and
// its deletion is counted off once, on disk as well.
func TestTrimDeadRemoved(t *testing.T) {
	config := memConfig()
	k := newClock(&config)
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone, old := letter(Bulk, 1, 0, k.at), letter(Bulk, 2, 0, k.at)
	young := letter(Bulk, 3, 0, k.at.Add(time.Hour))
	if err := bury(l, gone, old, young); err != nil {
		t.Fatal(err)
	}
	keys, err := l.oldDead(Bulk, k.at.Add(time.Minute).UnixNano())
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if err := l.Unbury(gone); err != nil {
		t.Fatal(err)
	}
	if err := l.removeDead(keys); err != nil {
		t.Fatal(err)
	}
	want := []string{"bulk 3 0 no id"}
	if got := listDead(t, l); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	closeLog(t, l)
	if got := listDead(t, open(t, config)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a restart %q, want %q", got, want)
	}
}

// TestRenewWhileTrimming: a new identity ends all releases, and so must not come
// between the look at them and the trim.
func TestRenewWhileTrimming(t *testing.T) {
	config := memConfig()
	config.Retain = 0
	k := newClock(&config)
	l := open(t, config)
	for range 500 {
		for range 16 {
			appendAt(t, l, Express, k.at)
		}
		l.Release(Express, l.Head(Express))
		k.pass(trimEvery)
		var group sync.WaitGroup
		group.Go(func() {
			if err := l.janitor.tick(config.now()); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := l.Renew(); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if released, first := l.Released(Express), l.First(Express); released+1 < first {
			t.Fatalf("released up to %d, but kept from %d", released, first)
		}
	}
}
