package wal

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

const gib = 1 << 30

func setFree(fs *vfs.MemFS, free uint64) {
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 100 * gib, UsedBytes: 100*gib - free})
}

// TestMinFree: short of space the log refuses, without a write having failed,
// and takes again when there is room.
func TestMinFree(t *testing.T) {
	config := memConfig()
	fs := vfs.NewMem()
	config.FS = fs
	setFree(fs, 50*gib)
	l := open(t, config)
	if err := l.Append(Bulk, testRecord(10)); err != nil {
		t.Fatal(err)
	}
	setFree(fs, gib-1)
	tick(t, l)
	if err := l.Append(Bulk, testRecord(10)); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "log.min_free") {
		t.Errorf("a full disk: %v", err)
	}
	if err := l.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("ready: %v", err)
	}
	if err := bury(l, letter(Bulk, 1, 0, time.Now())); err != nil {
		t.Errorf("bury: %v", err)
	}
	setFree(fs, gib+1<<20)
	tick(t, l)
	// The mebibyte is counted down before the disk is asked again.
	for appended := 0; l.Ready() == nil; appended++ {
		if err := l.Append(Bulk, testRecord(100<<10)); err != nil {
			t.Fatal(err)
		}
		if appended > 10 {
			t.Fatal("took more than there is room for")
		}
	}
}

// TestMinFreeMakesRoom: short of space released records go early, at their
// age of ten minutes.
func TestMinFreeMakesRoom(t *testing.T) {
	config := memConfig()
	fs := vfs.NewMem()
	config.FS = fs
	setFree(fs, 50*gib)
	k := newClock(&config)
	l := open(t, config)
	fillLog(t, l, k, 40)
	l.Release(Bulk, 20)
	setFree(fs, gib/2)
	tick(t, l)
	// Bulk has records of the minutes 1, 3, … 39; it is minute 40.
	if b, e := l.First(Bulk), l.First(Express); b != 16 || e != 1 {
		t.Errorf("bulk from %d, express from %d", b, e)
	}
	k.pass(settle - time.Second)
	tick(t, l)
	if b := l.First(Bulk); b != 16 {
		t.Errorf("bulk from %d before what went could make room", b)
	}
	k.pass(time.Minute)
	tick(t, l)
	if b := l.First(Bulk); b != 17 {
		t.Errorf("bulk from %d", b)
	}
}

func TestBallastSize(t *testing.T) {
	for _, c := range []struct{ disk, minFree, want int64 }{
		{100 * gib, gib, 64 << 20},
		{100 * gib, 0, 64 << 20},
		{100 * gib, 100 << 20, 25 << 20},
		{64 << 20, 8 << 20, 1 << 20},
		{64 << 20, 0, 1 << 20},
	} {
		if got := ballastSize(c.disk, c.minFree); got != c.want {
			t.Errorf("disk %d, min free %d: %d, want %d", c.disk, c.minFree, got, c.want)
		}
	}
}

// TestBallast: writes that find the disk full succeed with the ballast's room;
// then nothing is taken until there is room for another.
func TestBallast(t *testing.T) {
	mem := vfs.NewMem()
	setFree(mem, 50*gib)
	var full atomic.Bool
	config := memConfig()
	config.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, ".log") || !full.Load() {
			return nil
		}
		if _, err := mem.Stat("/data/log/" + ballastName); err != nil {
			return nil // its room is there
		}
		return syscall.ENOSPC
	}))
	config.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	l := open(t, config)
	full.Store(true)
	if err := l.Append(Bulk, testRecord(100)); err != nil {
		t.Fatalf("with the ballast: %v", err)
	}
	if err := l.Append(Bulk, testRecord(100)); !errors.Is(err, ErrFull) {
		t.Errorf("with the ballast gone: %v", err)
	}
	setFree(mem, gib+1)
	tick(t, l)
	if err := l.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("without room for a ballast: %v", err)
	}
	full.Store(false)
	setFree(mem, 2*gib)
	tick(t, l)
	if err := l.Append(Bulk, testRecord(100)); err != nil {
		t.Errorf("with room: %v", err)
	}
	if _, err := mem.Stat("/data/log/" + ballastName); err != nil {
		t.Errorf("no new ballast: %v", err)
	}
}

func TestQueueFull(t *testing.T) {
	q := newQueue()
	for range queueLimit {
		if _, err := q.put(&request{}); err != nil {
			t.Fatal(err)
		}
	}
	if reason, err := q.put(&request{}); reason != refusedQueue || !errors.Is(err, ErrFull) {
		t.Errorf("%s, %v", reason, err)
	}
	// A dead letter that is refused would end dispatching.
	if _, err := q.put(&request{write: func(*pebble.Batch) error { return nil }}); err != nil {
		t.Errorf("a write that is no record: %v", err)
	}
	if got := len(q.take(nil)); got != queueLimit+1 {
		t.Errorf("took %d", got)
	}
	if _, err := q.put(&request{}); err != nil {
		t.Errorf("after it was emptied: %v", err)
	}
}
