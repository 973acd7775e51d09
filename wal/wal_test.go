package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// TestAppend has many goroutines append to both lanes while readers read:
// sequences have no gap, and what one goroutine appended stays in its order.
func TestAppend(t *testing.T) {
	l := open(t, memConfig())
	const goroutines, each = 32, 200
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for i := range each {
				r := testRecord(0)
				r.Body = fmt.Appendf(nil, "%d %d", g, i)
				if err := l.Append(Lanes[g%2], r); err != nil {
					t.Error(err)
					return
				}
				clear(r.Body) // Append must not look at it any more
			}
		})
	}
	for _, lane := range Lanes {
		group.Go(func() { checkOrder(t, l, lane, goroutines/2*each) })
	}
	group.Wait()
}

// checkOrder reads n records and checks the counters in their bodies.
func checkOrder(t *testing.T, l *Log, lane Lane, n int) {
	reader := l.Reader(lane, 1)
	defer reader.Close()
	next := map[int]int{}
	for seq := uint64(1); seq <= uint64(n); {
		records, err := reader.Next(context.Background(), 100, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		for _, r := range records {
			var g, i int
			if _, err := fmt.Sscanf(string(r.Body), "%d %d", &g, &i); err != nil {
				t.Errorf("%s record %d holds %q", lane, seq, r.Body)
			}
			if r.Seq != seq || next[g] != i || r.App != "default" || len(r.Signature) != 32 {
				t.Errorf("%s record %d of goroutine %d: %+v", lane, seq, g, r)
			}
			if hash, err := l.Hash(lane, seq); err != nil || hash != r.Hash {
				t.Errorf("hash of %s record %d: %x, %v, want %x", lane, seq, hash, err, r.Hash)
			}
			next[g] = i + 1
			seq++
		}
	}
}

func TestRestart(t *testing.T) {
	config := memConfig()
	l := open(t, config)
	if _, err := uuid.Parse(l.Node()); err != nil {
		t.Fatalf("node %q: %v", l.Node(), err)
	}
	appendMany(t, l, Express, 10, 100)
	appendMany(t, l, Bulk, 3, 5<<20)
	l.Release(Express, 4)
	l.Release(Express, 2)
	l.Release(Bulk, 99) // beyond the head: as far as there is
	hash, err := l.Hash(Express, 10)
	if err != nil {
		t.Fatal(err)
	}
	kept, unreleased := l.keptBytes(), l.lanes[Express].unreleased()
	closeLog(t, l)

	again := open(t, config)
	if again.Node() != l.Node() {
		t.Errorf("node %s, want %s", again.Node(), l.Node())
	}
	if got, err := again.Hash(Express, 10); err != nil || got != hash {
		t.Errorf("hash %x, %v, want %x", got, err, hash)
	}
	for _, c := range []struct {
		lane                  Lane
		first, head, released uint64
	}{{Express, 1, 10, 4}, {Bulk, 1, 3, 3}} {
		if f, h, r := again.First(c.lane), again.Head(c.lane), again.Released(c.lane); f != c.first || h != c.head || r != c.released {
			t.Errorf("%s: first %d, head %d, released %d, want %+v", c.lane, f, h, r, c)
		}
	}
	one := int64(recordKeySize + recordHeader + len("default") + 32 + 100)
	if again.keptBytes() != kept || unreleased != 10*one || again.lanes[Express].unreleased() != 6*one {
		t.Errorf("kept %d bytes, %d before; unreleased %d, want %d", again.keptBytes(), kept, again.lanes[Express].unreleased(), 6*one)
	}
	appendMany(t, again, Express, 1, 100)
	if again.Head(Express) != 11 {
		t.Errorf("head %d, want 11", again.Head(Express))
	}
}

func TestRenew(t *testing.T) {
	config := memConfig()
	l := open(t, config)
	appendMany(t, l, Bulk, 5, 10)
	l.Release(Bulk, 4)
	tick(t, l)
	before := l.Node()
	node, err := l.Renew()
	if err != nil {
		t.Fatal(err)
	}
	if node == before || l.Node() != node {
		t.Errorf("renewed %s as %s, the log says %s", before, node, l.Node())
	}
	if l.Released(Bulk) != 0 {
		t.Errorf("released up to %d, which the log had under its old identity", l.Released(Bulk))
	}
	closeLog(t, l)
	if again := open(t, config); again.Node() != node || again.Head(Bulk) != 5 || again.Released(Bulk) != 0 {
		t.Errorf("node %s, head %d, released %d after restart", again.Node(), again.Head(Bulk), again.Released(Bulk))
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Config
		want   []string
	}{
		"file in the way": {Config{Dir: filepath.Join(file, "log")}, []string{file, "data"}},
		"no such place":   {Config{Dir: "/proc/spillway/log"}, []string{"/proc/spillway", "data"}},
		"all mistakes": {Config{Retain: -1, DeadRetain: -1, MaxBytes: -1, MinFree: -1},
			[]string{"data:", "log.retain:", "log.dead_retain:", "log.max_bytes:", "log.min_free:"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config.MaxBytes == 0 {
				c.config.MaxBytes = 1 << 30
			}
			_, err := Open(c.config, nil, nil)
			if err == nil {
				t.Fatal("opened")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %q", err, want)
				}
			}
		})
	}
	if err := DefaultConfig().Validate(); err == nil || strings.Contains(err.Error(), "log.") {
		t.Errorf("default config: %v, want only the folder to be missing", err)
	}
}

// TestOpenForeign: a format of the future, and data that is no log.
func TestOpenForeign(t *testing.T) {
	for name, c := range map[string]struct {
		key  []byte
		want string
	}{
		"format": {formatKey, `format "9"`},
		"data":   {recordKey(Bulk, 1), "no log format"},
	} {
		t.Run(name, func(t *testing.T) {
			config := memConfig()
			quiet := &pebbleLogger{logger: slog.New(slog.DiscardHandler)}
			db, err := pebble.Open(config.Dir, &pebble.Options{FS: config.FS, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Set(c.key, []byte("9"), pebble.Sync), db.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(config, nil, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestLocked opens a log twice, in this process and in another one.
func TestLocked(t *testing.T) {
	if dir := os.Getenv("WAL_TEST_LOCKED"); dir != "" {
		_, err := Open(dirConfig(dir), nil, nil)
		fmt.Println(err)
		return
	}
	dir := t.TempDir()
	l := open(t, dirConfig(dir))
	reg := prometheus.NewRegistry()
	if _, err := Open(dirConfig(dir), nil, reg); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestLocked$")
	child.Env = append(os.Environ(), "WAL_TEST_LOCKED="+dir)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), ErrLocked.Error()+": "+dir) {
		t.Errorf("another process got %q", out)
	}
	closeLog(t, l)
	again, err := Open(dirConfig(dir), nil, reg)
	if err != nil {
		t.Fatalf("open after close, with the metrics of the one refused: %v", err)
	}
	closeLog(t, again)
}

func dirConfig(dir string) Config {
	c := DefaultConfig()
	c.Dir, c.MinFree = dir, 0
	return c
}

func TestClose(t *testing.T) {
	l := open(t, memConfig())
	reader := l.Reader(Bulk, 1)
	waiting := make(chan error, 1)
	go func() {
		_, err := reader.Next(context.Background(), 1, 1)
		waiting <- err
	}()
	// What was asked before Close is kept, what comes after is refused.
	var group sync.WaitGroup
	errs := make([]error, 100)
	for i := range errs {
		group.Go(func() { errs[i] = l.Append(Express, testRecord(10)) })
	}
	closeLog(t, l)
	group.Wait()
	closeLog(t, l)
	kept := uint64(0)
	for _, err := range errs {
		if err == nil {
			kept++
		} else if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if l.Head(Express) != kept {
		t.Errorf("head %d after %d appends", l.Head(Express), kept)
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("waiting reader got %v", err)
	}
	for name, err := range map[string]error{
		"Append": l.Append(Bulk, testRecord(1)),
		"Ready":  l.Ready(),
		"Bury":   bury(l, DeadLetter{}),
		"Dead":   l.Dead(func(DeadLetter) error { return nil }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Hash(Express, 1); kept > 0 && !errors.Is(err, ErrClosed) {
		t.Errorf("Hash: %v", err)
	}
}
