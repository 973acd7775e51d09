package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// failoverConfig is a log with a second folder, in memory.
func failoverConfig() Config {
	c := memConfig()
	c.FailoverDir = "/other/log"
	return c
}

// onLog reports whether an operation is a write to a commit log in dir.
func onLog(op errorfs.Op, dir string) bool {
	return isLog(op) && strings.HasPrefix(op.Path, dir+"/") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
}

// stallingDisks is two folders of a real disk, the first of which can be made to
// stall.
type stallingDisks struct {
	first, second string
	fs            vfs.FS
	// until is when the stall ends, in Unix nanoseconds.
	until atomic.Int64
}

func newStallingDisks(t testing.TB) *stallingDisks {
	d := &stallingDisks{first: t.TempDir(), second: t.TempDir()}
	d.fs = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if onLog(op, d.first) {
			time.Sleep(time.Until(time.Unix(0, d.until.Load())))
		}
		return nil
	}))
	return d
}

func (d *stallingDisks) stall(t time.Duration) { d.until.Store(time.Now().Add(t).UnixNano()) }

// appendThrough appends from many goroutines through a stall, each in a steady
// rhythm, and gives the latencies in order, from when each append was due.
func (d *stallingDisks) appendThrough(t testing.TB, l *Log, stall time.Duration) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	end := time.Now().Add(stall + 600*time.Millisecond)
	for range 16 {
		group.Go(func() {
			var own []time.Duration
			for due := time.Now(); due.Before(end); due = due.Add(5 * time.Millisecond) {
				time.Sleep(time.Until(due))
				if err := l.Append(Express, testRecord(600)); err != nil {
					t.Error(err)
					return
				}
				own = append(own, time.Since(due))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	time.Sleep(300 * time.Millisecond)
	d.stall(stall)
	group.Wait()
	slices.Sort(all)
	return all
}

// TestStalledDisk stalls the first disk with and without a second one.
func TestStalledDisk(t *testing.T) {
	const stall = 2 * time.Second
	for _, failover := range []bool{false, true} {
		t.Run(fmt.Sprintf("failover=%t", failover), func(t *testing.T) {
			d := newStallingDisks(t)
			config := DefaultConfig()
			config.Dir, config.FS, config.MinFree = filepath.Join(d.first, "log"), d.fs, 0
			if failover {
				config.FailoverDir = filepath.Join(d.second, "log")
			}
			l := open(t, config)
			times := d.appendThrough(t, l, stall)
			p99, longest := times[len(times)*99/100], times[len(times)-1]
			t.Logf("a stall of %s: %d appends, p99 %s, longest %s", stall, len(times), p99, longest)
			if failover && longest > stall/2 || !failover && longest < stall*9/10 {
				t.Errorf("the longest append took %s", longest)
			}
			if int(l.Head(Express)) != len(times) || len(readAll(t, l, Express, l.Head(Express))) != len(times) {
				t.Errorf("head %d, %d appended", l.Head(Express), len(times))
			}
		})
	}
}

// TestFirstDiskFails: errors of the first disk's commit log cost no ack and no
// record, and the log opens again without them.
func TestFirstDiskFails(t *testing.T) {
	config := failoverConfig()
	mem := vfs.NewCrashableMem()
	var broken atomic.Bool
	config.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && onLog(op, config.Dir) {
			return errDisk
		}
		return nil
	}))
	config.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 200, 100)
	broken.Store(true)
	appendMany(t, l, Bulk, 200, 100)

	crashed := config
	crashed.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	again := open(t, crashed)
	if got := len(readAll(t, again, Bulk, again.Head(Bulk))); got != 400 {
		t.Errorf("%d records after a crash, want 400", got)
	}
	broken.Store(false)
	closeLog(t, l)
}

// TestBothDisksFail: then the log fails, and says so.
func TestBothDisksFail(t *testing.T) {
	config := failoverConfig()
	var broken atomic.Bool
	config.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && isLog(op) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errDisk
		}
		return nil
	}))
	fatal := make(chan error, 10)
	config.OnFatal = func(err error) { fatal <- err }
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 20, 10)
	broken.Store(true)
	appendUntilFailed(t, l, 100)
	if err := <-fatal; !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
		t.Errorf("fatal: %v", err)
	}
	checkFailed(t, l)
}

// TestFailoverDirChanges: records that are in the second folder alone are found
// when the setting is gone or names another folder, and missed aloud where the
// folder is gone.
func TestFailoverDirChanges(t *testing.T) {
	for _, next := range []string{"", "/third/log", "/other/log"} {
		t.Run("next="+next, func(t *testing.T) {
			config, mem := inSecondFolder(t)
			config.FailoverDir = next
			readOnly, err := OpenReadOnly(config, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(readAll(t, readOnly, Bulk, 100)); got != 100 {
				t.Errorf("%d records read-only", got)
			}
			closeLog(t, readOnly)
			l, err := Open(config, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(readAll(t, l, Bulk, 100)); got != 100 {
				t.Errorf("%d records", got)
			}
			closeLog(t, l)
			if next == "/other/log" {
				return
			}
			// Once read, the old folder is not needed any more.
			if err := mem.RemoveAll("/other/log"); err != nil {
				t.Fatal(err)
			}
			if l := open(t, config); l.Head(Bulk) != 100 {
				t.Errorf("head %d", l.Head(Bulk))
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		config, mem := inSecondFolder(t)
		config.FailoverDir = ""
		if err := mem.RemoveAll("/other/log"); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), "log.failover_dir") || !strings.Contains(err.Error(), "/other/log") {
			t.Errorf("opened: %v", err)
		}
	})
}

// inSecondFolder gives a log whose 100 records are in commit logs of the second
// folder.
func inSecondFolder(t *testing.T) (Config, *vfs.MemFS) {
	t.Helper()
	config := failoverConfig()
	mem := vfs.NewCrashableMem()
	config.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if onLog(op, config.Dir) && op.Kind != errorfs.OpCreate {
			return errDisk
		}
		return nil
	}))
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 100, 100)
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	closeLog(t, l)
	config.FS = crashed
	return config, crashed
}

// TestFailoverOfAnother: a second folder that is another log's is refused, and
// so is one inside the log's own.
func TestFailoverOfAnother(t *testing.T) {
	config := failoverConfig()
	l := open(t, config)
	other := config
	other.Dir = "/data/second"
	if _, err := Open(other, nil, nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "log.failover_dir") {
		t.Errorf("a folder in use: %v", err)
	}
	closeLog(t, l)
	if _, err := Open(other, nil, nil); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Errorf("a folder of another log: %v", err)
	}
	inside := config
	inside.FailoverDir = config.Dir + "/second"
	if _, err := Open(inside, nil, nil); err == nil || !strings.Contains(err.Error(), "log.failover_dir") {
		t.Errorf("a folder inside the log's: %v", err)
	}
}
