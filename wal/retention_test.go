package wal

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// sizes are what a folder took, at the end of each minute.
type sizes []int64

func (s sizes) largest() int64 { return slices.Max(s) }

// TestRetentionIsFlat appends for half an hour of the log's clock on a real
// disk, and releases what it appended. Once the retention has passed the folder
// grows no more, and it takes what is retained and what Pebble needs to work.
func TestRetentionIsFlat(t *testing.T) {
	const (
		minutes, retain = 30, 3
		recordBytes     = 16 << 10
		step            = 5 * time.Second
		// undispatched is how far releases stay behind.
		undispatched = 200
	)
	megabytes := 8 // a minute
	if os.Getenv("SPILLWAY_TEST_FULL") != "" {
		megabytes = 72 // what 2000 webhooks of 600 bytes a second come to
	}
	records := megabytes << 20 / recordBytes / int(time.Minute/step)

	config := dirConfig(t.TempDir())
	config.Retain, config.tick = retain*time.Minute, manual
	k := newClock(&config)
	l := open(t, config)
	tick(t, l)
	var seen sizes
	for minute := range minutes {
		for range int(time.Minute / step) {
			appendNow(t, l, k, records, recordBytes)
			for _, lane := range Lanes {
				if head := l.Head(lane); head > undispatched {
					l.Release(lane, head-undispatched)
				}
			}
			k.pass(step)
			tick(t, l)
		}
		if minute == minutes/2 { // a restart must not keep what should go
			closeLog(t, l)
			l = open(t, config)
		}
		finishReclaiming(t, l)
		seen = append(seen, folderBytes(t, config.Dir))
	}

	early, late := seen[2*retain:minutes/2].largest(), seen[minutes/2:].largest()
	t.Logf("%d MiB a minute, kept for %d minutes: at most %d MiB in the first half, %d in the second, %d of records at the end",
		megabytes, retain, early>>20, late>>20, l.keptBytes()>>20)
	if late > early+early/4+64<<20 {
		t.Errorf("the folder grows: %d MiB, later %d", early>>20, late>>20)
	}
	// Records stay up to a minute longer than they have to; Pebble has its memtables
	// twice: in its log as well.
	if most := 2*int64(retain+2)*int64(megabytes)<<20 + 2*memTables*maxMemTable; late > most {
		t.Errorf("the folder takes %d MiB, want %d at most", late>>20, most>>20)
	}
	if kept := l.keptBytes(); kept > int64(retain+2)*int64(megabytes)<<20 {
		t.Errorf("%d MiB of records are kept", kept>>20)
	}
}

// finishReclaiming gives the disk the rest of its minute: the log's clock is far ahead of
// it, so deleted records may not be off it yet.
func finishReclaiming(t *testing.T, l *Log) {
	t.Helper()
	l.janitor.reclaimer.group.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		m := l.db.Metrics()
		if m.Compact.NumInProgress == 0 && m.Table.ObsoleteCount == 0 && m.Table.ZombieCount == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %d compactions, %d tables to delete, %d in use though deleted",
				m.Compact.NumInProgress, m.Table.ObsoleteCount, m.Table.ZombieCount)
		}
	}
}

// appendNow appends records received now, in both lanes.
func appendNow(t *testing.T, l *Log, k *clock, n, size int) {
	t.Helper()
	const goroutines = 16
	failed := make(chan error, goroutines)
	for g := range goroutines {
		go func() {
			r := testRecord(size)
			r.Received = k.at
			var err error
			for i := 0; i < (n+goroutines-1-g)/goroutines && err == nil; i++ {
				err = l.Append(Lanes[i%len(Lanes)], r)
			}
			failed <- err
		}()
	}
	for range goroutines {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func folderBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && entry.Name() != ballastName {
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
