package wal

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestAnyWriteFails lets each single write, sync, creation, renaming or removal
// of a small load fail in turn, once or from then on, with one folder or two.
// Whatever Pebble makes of it: what was acknowledged is found by a healthy disk afterwards, whether what
// was not synced is lost or kept, and the log fails at most once and aloud.
func TestAnyWriteFails(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	runs := 60
	if os.Getenv("SPILLWAY_TEST_FULL") != "" {
		runs = 500 // each that fails keeps its memory
	}
	configs := []func() Config{memConfig, failoverConfig}
	var all [2]int64 // operations without and with a second folder
	for i, config := range configs {
		_, all[i] = faultRun(t, config, math.MaxInt64, true)
	}
	failed := 0
	for i := range runs {
		second, at, once := i%2, int64(i/2), random.IntN(2) == 0
		if i >= runs/2 {
			at = random.Int64N(all[second])
		}
		if halted, _ := faultRun(t, configs[second], at, once); halted {
			failed++
		}
		if t.Failed() {
			t.Fatalf("operation %d fails, once %t, second folder %t", at, once, second == 1)
		}
	}
	if failed == 0 {
		t.Error("no run failed the log")
	}
	t.Logf("%d of %d runs, over %v operations, failed the log", failed, runs, all)
}

// faultRun reports whether the log failed, and how many operations there were.
func faultRun(t *testing.T, makeConfig func() Config, at int64, once bool) (failed bool, all int64) {
	mem := vfs.NewCrashableMem()
	var operations atomic.Int64
	config := makeConfig()
	config.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		n := operations.Add(1) - 1
		if n == at || n > at && !once {
			return errDisk
		}
		return nil
	}))
	var fatal atomic.Int64
	config.OnFatal = func(error) { fatal.Add(1) }
	l, err := Open(config, nil, nil)
	if err != nil {
		checkCrashes(t, makeConfig, mem, at, nil)
		return true, operations.Load()
	}
	var mu sync.Mutex
	acked := map[string]bool{}
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range 40 {
				r := testRecord(0)
				r.Body = fmt.Appendf(make([]byte, 0, 20_000), "%d/%d", g, i)
				r.Body = r.Body[:len(r.Body)+i*450]
				if l.Append(Bulk, r) != nil {
					return
				}
				mu.Lock()
				acked[string(r.Body)] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if head := l.Head(Bulk); int(head) < len(acked) {
		t.Errorf("head %d, %d acknowledged", head, len(acked))
	}
	_ = l.Close()
	checkCrashes(t, makeConfig, mem, at, acked)
	if l.hasFailed() && fatal.Load() > 1 {
		t.Errorf("OnFatal was called %d times", fatal.Load())
	}
	return l.hasFailed(), operations.Load()
}

// checkCrashes looks for what was acknowledged on a healthy disk, whether what was
// not synced is lost or kept.
func checkCrashes(t *testing.T, makeConfig func() Config, mem *vfs.MemFS, at int64, acked map[string]bool) {
	for _, percent := range []int{0, 100} {
		healthy := makeConfig()
		healthy.FS = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(at)))})
		checkAcked(t, healthy, acked)
	}
}

// checkAcked opens a log and looks for what was acknowledged.
func checkAcked(t *testing.T, config Config, acked map[string]bool) {
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Errorf("open after the fault: %v", err)
		return
	}
	found := map[string]bool{}
	for i, r := range readAll(t, l, Bulk, l.Head(Bulk)) {
		if r.Seq != uint64(i+1) {
			t.Errorf("record %d at place %d", r.Seq, i+1)
		}
		found[string(r.Body)] = true
	}
	for body := range acked {
		if !found[body] {
			t.Errorf("record %.8q is lost", body)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
