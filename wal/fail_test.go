package wal

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
)

var errDisk = errors.New("disk on fire")

// failingLog is a log whose disk fails once armed. It is never closed cleanly,
// and its goroutines stay.
func failingLog(t *testing.T, fails func(errorfs.Op) bool) (l *Log, armed *atomic.Bool, fatal chan error) {
	t.Helper()
	armed, fatal = new(atomic.Bool), make(chan error, 10)
	config := memConfig()
	config.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && fails(op) {
			return errDisk
		}
		return nil
	}))
	config.OnFatal = func(err error) { fatal <- err }
	l, err := Open(config, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return l, armed, fatal
}

func isLog(op errorfs.Op) bool { return path.Ext(op.Path) == ".log" }

// TestDiskFails lets the disk fail in each way that a commit meets. From the
// first failure on nothing is acknowledged, nothing unacknowledged is shown,
// and OnFatal was called once.
func TestDiskFails(t *testing.T) {
	for name, c := range map[string]struct {
		fails func(errorfs.Op) bool
		size  int // of the records: large ones make Pebble change files
	}{
		"sync": {func(op errorfs.Op) bool {
			return isLog(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
		}, 100},
		"write":     {func(op errorfs.Op) bool { return isLog(op) && op.Kind == errorfs.OpFileWrite }, 100},
		"next file": {func(op errorfs.Op) bool { return isLog(op) && op.Kind == errorfs.OpCreate }, 1 << 20},
		"manifest":  {func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") }, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			l, armed, fatal := failingLog(t, c.fails)
			appendMany(t, l, Bulk, 20, 10)
			armed.Store(true)
			appendUntilFailed(t, l, c.size)
			if err := <-fatal; !errors.Is(err, ErrFailed) {
				t.Errorf("fatal: %v", err)
			}
			checkFailed(t, l)
			if len(fatal) != 0 {
				t.Errorf("fatal came again: %v", <-fatal)
			}
		})
	}
}

// appendUntilFailed appends from many goroutines until each got ErrFailed.
func appendUntilFailed(t *testing.T, l *Log, size int) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			r := testRecord(size)
			for i := 0; ; i++ {
				err := l.Append(Bulk, r)
				if errors.Is(err, ErrFailed) {
					break
				}
				if err != nil || i > 200 {
					t.Errorf("append %d: %v", i, err)
					return
				}
			}
			if err := l.Append(Express, r); !errors.Is(err, ErrFailed) {
				t.Errorf("append after the failure: %v", err)
			}
		})
	}
	group.Wait()
}

func checkFailed(t *testing.T, l *Log) {
	t.Helper()
	head := l.Head(Bulk)
	for name, err := range map[string]error{
		"Ready":  l.Ready(),
		"Append": l.Append(Bulk, testRecord(1)),
		"Bury":   bury(l, DeadLetter{}),
	} {
		if !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Renew(); !errors.Is(err, ErrFailed) {
		t.Errorf("Renew: %v", err)
	}
	r := l.Reader(Bulk, head+1)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if records, err := r.Next(ctx, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("beyond the head: %d records, %v", len(records), err)
	}
	if l.Head(Bulk) != head || l.Head(Express) != 0 {
		t.Errorf("heads moved to %d and %d", l.Head(Bulk), l.Head(Express))
	}
	if err := l.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
}

// TestSyncFails counts: what was acknowledged is what the head says, to the
// record, and that is what a restart without the lost writes finds.
func TestSyncFails(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var syncs atomic.Int64
	config := memConfig()
	config.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isLog(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && syncs.Add(1) > 30 {
			return errDisk
		}
		return nil
	}))
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Uint64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for l.Append(Bulk, testRecord(10)) == nil {
				acked.Add(1)
			}
		})
	}
	group.Wait()
	if head := l.Head(Bulk); head != acked.Load() || head == 0 {
		t.Errorf("head %d, %d acknowledged", head, acked.Load())
	}
	config.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	if again := open(t, config); again.Head(Bulk) != acked.Load() {
		t.Errorf("head %d after a restart, %d acknowledged", again.Head(Bulk), acked.Load())
	}
}

// TestOpenFails: a disk that fails while the log is opened is told by Open.
func TestOpenFails(t *testing.T) {
	for _, file := range []string{"MANIFEST", ".log"} {
		t.Run(file, func(t *testing.T) {
			config := memConfig()
			config.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
			config.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
				if strings.Contains(op.Path, file) && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
					return errDisk
				}
				return nil
			}))
			if _, err := Open(config, nil, nil); !errors.Is(err, errDisk) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// TestCloseFails: a disk that fails in the writes of Close itself is told by
// Close, which returns.
func TestCloseFails(t *testing.T) {
	l, armed, fatal := failingLog(t, isLog)
	appendMany(t, l, Bulk, 20, 10)
	armed.Store(true)
	if err := l.Close(); !errors.Is(err, ErrFailed) || !errors.Is(err, errDisk) {
		t.Errorf("Close: %v", err)
	}
	if err := <-fatal; !errors.Is(err, errDisk) {
		t.Errorf("fatal: %v", err)
	}
}
