package wal

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// rotatingLog is a log with a second folder that tells what hurts it. rotate
// closes its commit log and goes on to the next one.
type rotatingLog struct {
	*Log
	mem *vfs.MemFS
	// inject gives what an operation meets, nil for nothing.
	inject atomic.Pointer[func(errorfs.Op) error]
}

func openRotating(t *testing.T) *rotatingLog {
	t.Helper()
	r := &rotatingLog{mem: vfs.NewCrashableMem()}
	config := failoverConfig()
	config.FS = errorfs.Wrap(r.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if inject := r.inject.Load(); inject != nil {
			return (*inject)(op)
		}
		return nil
	}))
	config.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
	var err error
	if r.Log, err = Open(config, nil, nil); err != nil {
		t.Fatal(err)
	}
	appendMany(t, r.Log, Bulk, 20, 100)
	return r
}

func (r *rotatingLog) rotate(t *testing.T) {
	t.Helper()
	if err := r.db.Flush(); err != nil {
		t.Error(err)
	}
}

// end closes the log and looks for n records, after a crash as well.
func (r *rotatingLog) end(t *testing.T, n int) {
	t.Helper()
	crashed := failoverConfig()
	crashed.FS = r.mem.CrashClone(vfs.CrashCloneCfg{})
	closeLog(t, r.Log)
	if got := len(readAll(t, open(t, crashed), Bulk, uint64(n))); got != n {
		t.Errorf("%d records after a crash, want %d", got, n)
	}
}

// TestFirstDiskFailsInRotation: an error of the first disk while Pebble closes
// its commit log, or makes the next one, costs neither the process nor a record.
func TestFirstDiskFailsInRotation(t *testing.T) {
	first := failoverConfig().Dir
	for name, fails := range map[string]func(errorfs.Op) bool{
		"write": func(op errorfs.Op) bool { return onLog(op, first) && op.Kind == errorfs.OpFileWrite },
		"sync": func(op errorfs.Op) bool {
			return onLog(op, first) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		},
		"create": func(op errorfs.Op) bool {
			return onLog(op, first) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		},
		"any": func(op errorfs.Op) bool { return onLog(op, first) },
	} {
		t.Run(name, func(t *testing.T) {
			r := openRotating(t)
			var met atomic.Bool
			inject := func(op errorfs.Op) error {
				if !fails(op) {
					return nil
				}
				met.Store(true)
				return errDisk
			}
			r.inject.Store(&inject)
			r.rotate(t)
			r.rotate(t)
			appendMany(t, r.Log, Bulk, 20, 100)
			r.end(t, 40)
			if !met.Load() {
				t.Error("nothing failed")
			}
		})
	}
}

// TestFirstFolderFails: an entry of the first folder that cannot be synced fails
// the log aloud, wherever its commits go: Pebble would panic.
func TestFirstFolderFails(t *testing.T) {
	for name, moved := range map[string]bool{"first": false, "second": true} {
		t.Run("commits to the "+name, func(t *testing.T) {
			r := openRotating(t)
			fatal := make(chan error, 10)
			r.config.OnFatal = func(err error) { fatal <- err }
			inject := func(op errorfs.Op) error {
				if moved && onLog(op, r.config.Dir) || op.Path == r.config.Dir && op.Kind == errorfs.OpFileSync {
					return errDisk
				}
				return nil
			}
			r.inject.Store(&inject)
			if moved {
				appendMany(t, r.Log, Bulk, 1, 100)
			}
			go func() { _ = r.db.Flush() }() // it does not come back
			if err := <-fatal; !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
				t.Errorf("fatal: %v", err)
			}
			checkFailed(t, r.Log)
		})
	}
}

// TestSecondFolderFails: an entry of the second folder that cannot be synced
// costs nothing where the first disk only stalls.
func TestSecondFolderFails(t *testing.T) {
	r := openRotating(t)
	var stalled, failed atomic.Bool
	inject := func(op errorfs.Op) error {
		if onLog(op, r.config.Dir) && stalled.CompareAndSwap(false, true) {
			time.Sleep(4 * stallThreshold)
		}
		if op.Path == r.config.FailoverDir && op.Kind == errorfs.OpFileSync {
			failed.Store(true)
			return errDisk
		}
		return nil
	}
	r.inject.Store(&inject)
	r.rotate(t)
	appendMany(t, r.Log, Bulk, 20, 100)
	r.end(t, 40)
	if !failed.Load() {
		t.Error("nothing failed")
	}
}

// TestFirstDiskFailsAfterStalls: once Pebble has moved a commit log to and fro it
// is slower to move it again, and an error has to be held back for longer.
func TestFirstDiskFailsAfterStalls(t *testing.T) {
	r := openRotating(t)
	stall := func(dir string) {
		t.Helper()
		var once atomic.Bool
		inject := func(op errorfs.Op) error {
			if onLog(op, dir) && once.CompareAndSwap(false, true) {
				time.Sleep(4 * stallThreshold)
			}
			return nil
		}
		r.inject.Store(&inject)
		appendMany(t, r.Log, Bulk, 1, 100)
		time.Sleep(4 * stallThreshold) // so that the stall is over
	}
	stall(r.config.Dir)
	stall(r.config.FailoverDir)
	if moves := r.db.Metrics().WAL.Failover.DirSwitchCount; moves != 2 {
		t.Fatalf("%d moves, want 2", moves)
	}
	inject := func(op errorfs.Op) error {
		if onLog(op, r.config.Dir) {
			return errDisk
		}
		return nil
	}
	r.inject.Store(&inject)
	r.rotate(t)
	appendMany(t, r.Log, Bulk, 18, 100)
	r.end(t, 40)
}

// closeFails is a file whose Close fails.
type closeFails struct{ vfs.File }

func (closeFails) Close() error { return errDisk }

// TestCloseOfCommitLogFails: where there is a second folder Pebble hears nothing
// of it; where there is none the log fails.
func TestCloseOfCommitLogFails(t *testing.T) {
	failed := make(chan error, 1)
	fail := func(err error) { failed <- err }
	one, two := &haltFS{fail: fail}, &haltFS{fail: fail}
	file := &haltFile{File: closeFails{}, fs: one, name: "000001.log"}
	go func() { _ = file.Close() }() // it does not come back
	if err := <-failed; !errors.Is(err, errDisk) {
		t.Errorf("alone: %v", err)
	}
	two.spare(nil)
	file = &haltFile{File: closeFails{}, fs: two, name: "000001.log", number: 1}
	if err := file.Close(); err != nil || len(failed) > 0 {
		t.Errorf("with a second folder: %v", err)
	}
}
