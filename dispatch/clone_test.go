package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestClonedLog runs a copy of a log beside its original, into the same store,
// each with webhooks of its own under the same sequences. One of the two is found
// to be no log of the store's; no record of either is skipped, none comes twice.
func TestClonedLog(t *testing.T) {
	r := newRig(t)
	r.messages(100)
	r.start()
	r.wantMessages(100)
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	r.stop()

	original, node := r.log, r.log.Node()
	clone := r.openLog(r.logFS.CrashClone(vfs.CrashCloneCfg{}))
	defer clone.Close()
	if clone.Node() != node {
		t.Fatal("the clone has another identity")
	}
	first := startDraining(t, r)
	defer first.stop()
	r.log = clone
	second := startDraining(t, r)
	defer second.stop()
	for range 60 {
		r.log = original
		r.message(r.next % 20)
		r.log = clone
		r.message(r.next % 20)
	}
	r.eventually("both logs level", func() bool {
		return first.d.Behind() == [2]uint64{} && second.d.Behind() == [2]uint64{}
	})
	r.log = original
	seen := map[string]int{}
	for p := range testPartitions {
		for _, e := range r.events(p) {
			if e.Type == "message:new" {
				seen[e.UID.String()]++
			}
		}
	}
	for uid, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", uid, n)
		}
	}
	if len(seen) != 220 {
		t.Errorf("%d messages, want 220", len(seen))
	}
	renewals := testutil.ToFloat64(first.d.metrics.renewals) + testutil.ToFloat64(second.d.metrics.renewals)
	if renewals == 0 || original.Node() == clone.Node() {
		t.Errorf("%v renewals; nodes %s and %s", renewals, original.Node(), clone.Node())
	}
}

type draining struct {
	d    *Dispatcher
	stop func()
}

// startDraining drains the rig's log into its store, beside others.
func startDraining(t *testing.T, r *rig) draining {
	t.Helper()
	config := DefaultConfig()
	config.Dir = t.TempDir()
	config.WatchInterval = 20 * time.Millisecond
	d, err := New(config, r.log, r.store, r.logger(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return draining{d: d, stop: func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}}
}
