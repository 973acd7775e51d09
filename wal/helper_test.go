package wal

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// manual is a tick that never comes: the test runs the janitor itself.
const manual = time.Hour

// memConfig is a log in memory.
func memConfig() Config {
	c := DefaultConfig()
	c.Dir = "/data/log"
	c.FS = vfs.NewMem()
	c.tick = manual
	return c
}

// open opens a log that is closed with the test, and leaves no goroutine. What
// a log that failed left before is not counted.
func open(t testing.TB, config Config) *Log {
	t.Helper()
	before := goleak.IgnoreCurrent()
	// One that failed may still try its folders in turn, and stay in each.
	held := goleak.IgnoreAnyFunction("spillway/wal.(*haltFS).hold")
	halted := goleak.IgnoreAnyFunction("spillway/wal.(*haltFS).stop")
	refused := goleak.IgnoreAnyFunction("spillway/wal.(*haltFS).guard")
	t.Cleanup(func() { goleak.VerifyNone(t, before, held, halted, refused) })
	l, err := Open(config, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

func openAt(t testing.TB, config Config, dir string) *Log {
	config.Dir = dir
	config.MinFree = 64 << 20
	return open(t, config)
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// appendMany appends n records from a few goroutines.
func appendMany(t testing.TB, l *Log, lane Lane, n, size int) {
	t.Helper()
	const goroutines = 16
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for range (n + goroutines - 1 - g) / goroutines {
				if err := l.Append(lane, testRecord(size)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func bury(l *Log, letters ...DeadLetter) error {
	_, err := l.Bury(letters...)
	return err
}

// appendAt appends one record with a time and a body that tells it from others.
func appendAt(t testing.TB, l *Log, lane Lane, at time.Time) {
	t.Helper()
	r := testRecord(0)
	r.Received = at
	r.Body = fmt.Appendf(nil, "%s %d", lane, at.UnixNano())
	if err := l.Append(lane, r); err != nil {
		t.Fatal(err)
	}
}

// tick runs the janitor once.
func tick(t testing.TB, l *Log) {
	t.Helper()
	if err := l.janitor.tick(l.config.now()); err != nil {
		t.Fatal(err)
	}
}
