package main

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// gathered gives the value of a metric without labels but db.
func gathered(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			m := family.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

func TestPebbleFigures(t *testing.T) {
	db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	p := newPebbleFigures("log").withFailover()
	p.read = db.Metrics
	reg := prometheus.NewRegistry()
	reg.MustRegister(p)
	for range 3 {
		if err := db.Set([]byte("key"), make([]byte, 1000), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if got := gathered(t, reg, "spillway_pebble_flushes_total"); got != 3 {
		t.Errorf("%v flushes; want 3", got)
	}
	for _, name := range []string{"disk_bytes", "flushed_bytes_total", "wal_written_bytes_total", "memtable_bytes"} {
		if got := gathered(t, reg, "spillway_pebble_"+name); got < 1000 {
			t.Errorf("%s is %v; want 1000 at least", name, got)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestPebbleStalls(t *testing.T) {
	p := newPebbleFigures("store")
	p.onStall(true)
	time.Sleep(5 * time.Millisecond)
	count, during := p.stallsSoFar()
	p.onStall(false)
	_, after := p.stallsSoFar()
	time.Sleep(5 * time.Millisecond)
	_, later := p.stallsSoFar()
	if count != 1 || during < 5*time.Millisecond || after < during || later != after {
		t.Errorf("%d stalls, %v during, %v after, %v later", count, during, after, later)
	}
}

// TestPebbleHangs: a scrape while the database does not answer shows what it last
// said, and asks once.
func TestPebbleHangs(t *testing.T) {
	hang, reads := make(chan struct{}), make(chan struct{}, 10)
	p := newPebbleFigures("log")
	p.read = func() *pebble.Metrics { return &pebble.Metrics{} }
	p.current()
	p.read = func() *pebble.Metrics {
		reads <- struct{}{}
		<-hang
		return nil
	}
	for range 3 {
		if p.current() == nil {
			t.Error("nothing is shown while the database hangs")
		}
	}
	if len(reads) != 1 {
		t.Errorf("the database was asked %d times; want once", len(reads))
	}
	close(hang)
}
