package wal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// metricsText is what TestMetrics wants, with places for the sizes.
const metricsText = `
# HELP spillway_log_bytes Bytes of the records kept.
# TYPE spillway_log_bytes gauge
spillway_log_bytes{lane="bulk"} %d
spillway_log_bytes{lane="express"} %d
# HELP spillway_log_dead_letters Dead letters kept.
# TYPE spillway_log_dead_letters gauge
spillway_log_dead_letters 1
# HELP spillway_log_dead_letters_bytes Bytes of the dead letters kept.
# TYPE spillway_log_dead_letters_bytes gauge
spillway_log_dead_letters_bytes %d
# HELP spillway_log_oldest_seconds Age of the oldest record kept, 0 without one.
# TYPE spillway_log_oldest_seconds gauge
spillway_log_oldest_seconds{lane="bulk"} 60
spillway_log_oldest_seconds{lane="express"} 60
# HELP spillway_log_queue_requests Requests that wait for the next batch.
# TYPE spillway_log_queue_requests gauge
spillway_log_queue_requests 0
# HELP spillway_log_records Records kept.
# TYPE spillway_log_records gauge
spillway_log_records{lane="bulk"} 1
spillway_log_records{lane="express"} 2
# HELP spillway_log_refused_total Records refused, by reason.
# TYPE spillway_log_refused_total counter
spillway_log_refused_total{reason="closed"} 0
spillway_log_refused_total{reason="disk"} 0
spillway_log_refused_total{reason="failed"} 0
spillway_log_refused_total{reason="full"} 1
spillway_log_refused_total{reason="queue"} 0
# HELP spillway_log_unreleased_bytes Bytes of the records not released yet.
# TYPE spillway_log_unreleased_bytes gauge
spillway_log_unreleased_bytes{lane="bulk"} %d
spillway_log_unreleased_bytes{lane="express"} %d
# HELP spillway_log_unreleased_records Records not released yet.
# TYPE spillway_log_unreleased_records gauge
spillway_log_unreleased_records{lane="bulk"} 1
spillway_log_unreleased_records{lane="express"} 1
`

func TestMetrics(t *testing.T) {
	config := memConfig()
	config.MaxBytes = minMaxBytes
	k := newClock(&config)
	reg := prometheus.NewRegistry()
	l, err := Open(config, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)

	big := testRecord(minMaxBytes)
	big.Received = k.at
	appendAt(t, l, Express, k.at)
	appendAt(t, l, Express, k.at)
	for _, r := range []Record{big, big} {
		if err := l.Append(Bulk, r); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	l.Release(Express, 1)
	if err := bury(l, letter(Bulk, 1, 0, k.at)); err != nil {
		t.Fatal(err)
	}
	k.pass(time.Minute)
	tick(t, l)

	small := recordKeySize + recordHeader + len("default") + 32 + len("express 1700000000000000000")
	large := recordKeySize + recordSize(&big)
	dead := letter(Bulk, 1, 0, k.at)
	deadBytes := deadKeySize + len(dead.encode())
	want := fmt.Sprintf(metricsText, large, 2*small, deadBytes, large, small)
	names := []string{}
	for line := range strings.Lines(want) {
		if name, ok := strings.CutPrefix(line, "# HELP "); ok {
			names = append(names, strings.Fields(name)[0])
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	checkHistograms(t, reg)
}

// checkHistograms: three records in three batches; identity, release and dead
// letter are commits without a record.
func checkHistograms(t *testing.T, reg *prometheus.Registry) {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"spillway_log_commit_seconds": 6, "spillway_log_commit_records": 3}
	for _, f := range families {
		if n, ok := want[f.GetName()]; ok {
			if got := f.GetMetric()[0].GetHistogram().GetSampleCount(); got != n {
				t.Errorf("%s has %d samples, want %d", f.GetName(), got, n)
			}
			delete(want, f.GetName())
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// valueOf is the sum of a metric's series.
func valueOf(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// TestAppendedSinceStart: a counter begins at 0 with its process, else a log that has
// lost its end would seem to have taken all of it at once.
func TestAppendedSinceStart(t *testing.T) {
	config := DefaultConfig()
	config.Dir, config.FS = "log", vfs.NewMem()
	for _, n := range []int{3, 2} {
		reg := prometheus.NewRegistry()
		l, err := Open(config, nil, reg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if err := l.Append(Lanes[i%len(Lanes)], testRecord(100)); err != nil {
				t.Fatal(err)
			}
		}
		records, bytes := valueOf(t, reg, "spillway_log_appended_records_total"), valueOf(t, reg, "spillway_log_appended_bytes_total")
		if records != float64(n) || bytes < 100*records || bytes > 1000*records {
			t.Errorf("%v records of %v bytes are counted; want %d of some hundreds each", records, bytes, n)
		}
		closeLog(t, l)
	}
}

// TestCommitRunning: a commit that hangs is seen while it does.
func TestCommitRunning(t *testing.T) {
	reg := prometheus.NewRegistry()
	config := DefaultConfig()
	config.Dir, config.FS = "log", vfs.NewMem()
	l, err := Open(config, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	running := func() float64 { return valueOf(t, reg, "spillway_log_commit_running_seconds") }
	hangs, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- l.do(func(*pebble.Batch) error { close(hangs); <-goOn; return nil })
	}()
	<-hangs
	time.Sleep(10 * time.Millisecond)
	if got := running(); got < 0.01 {
		t.Errorf("the commit is said to run for %v s; want 10 ms at least", got)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); running() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a commit is said to run that ended")
		}
	}
}
