package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachOnceInOrder(t *testing.T) {
	r := newRig(t)
	r.messages(300) // before
	r.start()
	r.messages(300) // and while it runs
	for range 2 {
		r.status("wamid.s", "delivered")
		r.status("wamid.s", "sent")
	}
	r.wantMessages(600)
	r.eventually("two statuses", func() bool { return r.count(event.MessageStatus) >= 2 })
	if n := r.count(event.ContactNew); n != 20 {
		t.Errorf("%d contacts, want 20", n)
	}
	r.eventually("all released, idle partitions too", func() bool {
		return r.log.Released(wal.Express) == 600 && r.log.Released(wal.Bulk) == 4
	})
	r.stop()

	for outcome, want := range map[string]float64{"fresh": 1, "stale": 1, "duplicate": 2} {
		if got := testutil.ToFloat64(r.d.metrics.events.WithLabelValues(event.MessageStatus, outcome)); got != want {
			t.Errorf("%v statuses are %s, want %v", got, outcome, want)
		}
	}
	r.start() // once more, from the stored cursors
	r.messages(10)
	r.wantMessages(610)
}

// TestStoreFails makes calls fail at random, before and after they took effect:
// a lost request and a lost reply.
func TestStoreFails(t *testing.T) {
	r := newRig(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var calls atomic.Uint64
	random := func(odds int) func(*store.Batch) error {
		return func(*store.Batch) error {
			if rand.New(rand.NewPCG(seed, calls.Add(1))).IntN(odds) == 0 {
				return errInjected
			}
			return nil
		}
	}
	r.store.hooks(random(4), random(4))
	r.start()
	r.messages(600)
	r.wantMessages(600)
	if r.rewinds() != 0 {
		t.Errorf("%v rewinds of a store that lost nothing", r.rewinds())
	}
}

// TestPartitionAway takes one partition's store away: the others go on, with
// far more than can be queued, and when it comes back it misses nothing.
func TestPartitionAway(t *testing.T) {
	r := newRig(t)
	away := event.Partition("c3", testPartitions)
	r.store.away(away)
	r.start()
	r.messages(3000)
	lost := 0
	for i := range 3000 {
		if event.Partition("c"+itoa(i%20), testPartitions) == away {
			lost++
		}
	}
	r.eventually("the messages of the other partitions", func() bool { return r.count(event.MessageNew) == 3000-lost })
	if released := r.log.Released(wal.Express); released != 0 {
		t.Errorf("released up to %d, which one partition lacks", released)
	}
	held := func() float64 { return testutil.ToFloat64(r.d.metrics.held.WithLabelValues(wal.Express.String())) }
	r.eventually("the partition is told to be held", func() bool { return held() == 1 })
	if retries := testutil.ToFloat64(r.d.metrics.retries.WithLabelValues(wal.Express.String())); retries < 1 {
		t.Errorf("%v retries are counted", retries)
	}
	r.store.hooks(nil, nil)
	r.messages(300)
	r.wantMessages(3300)
	r.eventually("no partition is held", func() bool { return held() == 0 })
	r.eventually("all released", func() bool { return r.log.Released(wal.Express) == 3300 })
}

// TestStoreGoesBack restores the store to an older state, while nothing is
// being applied and while much is.
func TestStoreGoesBack(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			fs := vfs.NewCrashableMem()
			r.store.inner.Store(r.openStore(fs))
			r.start()
			r.messages(200)
			r.wantMessages(200)
			r.eventually("a durable state", func() bool { return r.log.Released(wal.Express) == 200 })
			old := fs.CrashClone(vfs.CrashCloneCfg{})
			r.messages(200)
			if !busy {
				r.wantMessages(400)
				r.eventually("all confirmed", func() bool { return r.log.Released(wal.Express) == 400 })
			}
			r.store.inner.Store(r.openStore(old))
			if busy {
				r.messages(200)
				r.wantMessages(600)
				return
			}
			r.wantMessages(400)
			if r.rewinds() == 0 {
				t.Error("no rewind is counted")
			}
			r.eventually("a line that all is there again", func() bool {
				return strings.Contains(r.logs.String(), "the store has again what it lost")
			})
			again := testutil.ToFloat64(r.d.metrics.reapplied.WithLabelValues("express"))
			if again == 0 || again > 400 {
				t.Errorf("%v events were applied again", again)
			}
		})
	}
}

// TestStoreEmptied loses the whole store: it is filled again from the log.
func TestStoreEmptied(t *testing.T) {
	r := newRig(t)
	r.start()
	r.messages(200)
	r.wantMessages(200)
	r.eventually("all confirmed", func() bool { return r.log.Released(wal.Express) == 200 })
	r.store.inner.Store(r.openStore(vfs.NewCrashableMem()))
	r.wantMessages(200)
	if r.rewinds() == 0 {
		t.Error("no rewind is counted")
	}
}

// TestLogLostTail opens an older copy of the log, as after a lost tail or a
// restored snapshot: the store knows better, and new records are not mistaken
// for those it has seen.
func TestLogLostTail(t *testing.T) {
	r := newRig(t)
	r.messages(100)
	old := r.logFS.CrashClone(vfs.CrashCloneCfg{})
	r.start()
	r.messages(100)
	r.wantMessages(200)
	r.eventually("all confirmed", func() bool { return r.log.Released(wal.Express) == 200 })
	r.stop()
	node := r.log.Node()
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}

	r.log = r.openLog(old)
	if r.log.Node() != node || r.log.Head(wal.Express) != 100 {
		t.Fatalf("the copy is not one: node %s, head %d", r.log.Node(), r.log.Head(wal.Express))
	}
	r.messages(150) // sequences 101 to 250, used before for other records
	r.start()
	r.wantMessages(350)
	if got := testutil.ToFloat64(r.d.metrics.renewals); got != 1 {
		t.Errorf("%v renewals are counted, want 1", got)
	}
	if r.log.Node() == node {
		t.Error("the log has kept its identity")
	}
}

// TestDeadLetters wants what cannot be decoded kept, and its siblings out.
func TestDeadLetters(t *testing.T) {
	r := newRig(t)
	r.append(wal.Express, `{"entry":`)
	r.append(wal.Express, `{"entry":[{"changes":[{"field":"messages","value":{"messages":[1,{"from":"c1","id":"wamid.x","timestamp":"1","type":"text","text":{"body":"1"}},2]}}]}]}`)
	r.start()
	r.wantMessages(1)
	var letters []wal.DeadLetter
	if err := r.log.Dead(func(letter wal.DeadLetter) error {
		letters = append(letters, letter)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(letters) != 3 {
		t.Fatalf("%d dead letters, want 3", len(letters))
	}
	for i, want := range []struct {
		seq    uint64
		path   string
		hasAll bool
	}{
		{1, "", true},
		{2, "entry[0].changes[0].value.messages[0]", true},
		{2, "entry[0].changes[0].value.messages[2]", false},
	} {
		got := letters[i]
		if got.Seq != want.seq || got.Path != want.path || got.Reason == "" || len(got.Body) > 0 != want.hasAll {
			t.Errorf("dead letter %d is %d %q %q with %d bytes, want %+v", i, got.Seq, got.Path, got.Reason, len(got.Body), want)
		}
	}
	if got := testutil.ToFloat64(r.d.metrics.events.WithLabelValues(typeUnknown, outcomeDead)); got != 3 {
		t.Errorf("%v dead are counted, want 3", got)
	}
}

// TestDeadLettersOnce has records read a second time, for a partition that was
// away: their dead letters are not counted again.
func TestDeadLettersOnce(t *testing.T) {
	r := newRig(t)
	away := event.Partition("c3", testPartitions)
	r.store.away(away)
	r.start()
	for range 40 {
		r.messages(20)
		r.append(wal.Express, `{"entry":`)
	}
	dead := func() float64 {
		return testutil.ToFloat64(r.d.metrics.events.WithLabelValues(typeUnknown, outcomeDead))
	}
	r.eventually("all dead letters, while a partition is away", func() bool { return dead() >= 40 })
	r.store.hooks(nil, nil)
	r.wantMessages(800)
	r.eventually("all released", func() bool { return r.log.Released(wal.Express) == 840 })
	if dead() != 40 {
		t.Errorf("%v dead are counted, want 40", dead())
	}
}

// TestDeadLettersInOneSync: a flood of what cannot be decoded must not cost a
// sync a record.
func TestDeadLettersInOneSync(t *testing.T) {
	r := newRig(t)
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	var syncs atomic.Int64
	r.log = r.openLog(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			syncs.Add(1)
		}
		return nil
	})))
	const records = 320 // 20 batches
	for range records {
		r.append(wal.Bulk, `{"entry":`)
	}
	before := syncs.Load()
	r.start()
	r.eventually("all dead letters", func() bool {
		return testutil.ToFloat64(r.d.metrics.events.WithLabelValues(typeUnknown, outcomeDead)) == records
	})
	if n := syncs.Load() - before; n > records/4 {
		t.Errorf("%d syncs for %d dead letters", n, records)
	}
}

// TestDeliveryOfTheOldest: a batch counts for as long as its oldest event took,
// whatever else was read with it.
func TestDeliveryOfTheOldest(t *testing.T) {
	r := newRig(t)
	const age = 100 * time.Second
	for i, received := range []time.Time{time.Now().Add(-age), time.Now()} {
		body := fmt.Sprintf(`{"entry":[{"id":"w","changes":[{"field":"messages","value":{"messages":[{"from":"c%d","id":"wamid.%d","timestamp":"1","type":"text","text":{"body":"1"}}]}}]}]}`, i, i)
		if err := r.log.Append(wal.Express, wal.Record{Received: received, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.eventually("two messages", func() bool { return r.count(event.MessageNew) == 2 })
	r.stop()
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.d.metrics.delivery)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, m := range families[0].Metric {
		sum += m.Histogram.GetSampleSum()
	}
	if sum < age.Seconds() {
		t.Errorf("%v seconds are counted, want %v", sum, age.Seconds())
	}
}

// TestLag: partitions that nothing was for do not count, though their cursors
// are moved only now and then; one with events that are not applied does.
func TestLag(t *testing.T) {
	r := newRig(t)
	config := DefaultConfig()
	config.Dir, config.WatchInterval = t.TempDir(), time.Hour
	d, err := New(config, r.log, r.store, r.logger(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer d.suspects.close()
	l := newLane(d, wal.Express, r.log.Node(), func(error) {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()
	lag := func() float64 {
		l.look(ctx)
		return testutil.ToFloat64(d.metrics.lag.WithLabelValues(wal.Express.String()))
	}
	r.message(1)
	r.eventually("the message", func() bool { return r.count(event.MessageNew) == 1 })
	r.eventually("no lag", func() bool { return lag() == 0 })
	r.store.hooks(func(*store.Batch) error { return errInjected }, nil)
	r.message(1)
	r.eventually("lag", func() bool { return lag() > 0.05 })
	r.store.hooks(nil, nil)
	r.eventually("no lag again", func() bool { return lag() == 0 })
	cancel()
	<-done
}

// TestHandOver: the lead takes late members from where they were read up to, not
// from their last event, and a jump that they were not told of yet is told.
func TestHandOver(t *testing.T) {
	r := newRig(t)
	config := DefaultConfig()
	config.Dir = t.TempDir()
	d, err := New(config, r.log, r.store, r.logger(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer d.suspects.close()
	l := newLane(d, wal.Express, r.log.Node(), func(error) {})
	l.lead.join(l.workers[0], 9001)
	late := l.late
	late.join(l.workers[1], 11)
	late.takeIn()
	late.members[0].jump = true
	late.covered = store.Cursor{Seq: 9000, Hash: 1}
	late.next.Store(9001)
	late.handOver(t.Context())
	joined := l.lead.joined[len(l.lead.joined)-1]
	if joined.worker != l.workers[1] || joined.sent != 9000 || len(late.members) != 0 {
		t.Errorf("the lead is to go on after record %d, want 9000; %d are still late", joined.sent, len(late.members))
	}
	if len(l.workers[1].queue) != 1 {
		t.Fatal("the worker was not moved")
	}
	if s := <-l.workers[1].queue; s.start != 11 || s.to != late.covered || !s.jump {
		t.Errorf("moved by %+v", s)
	}
}

// TestExpressFirst puts a customer's message behind a campaign's statuses: it
// must not wait for them.
func TestExpressFirst(t *testing.T) {
	r := newRig(t)
	const statuses = 3000
	for i := range statuses {
		r.status("wamid."+itoa(i), "sent")
	}
	r.message(1)
	r.start()
	r.eventually("the message", func() bool { return r.count(event.MessageNew) == 1 })
	if done := r.count(event.MessageStatus); done > statuses*3/4 {
		t.Errorf("%d of %d statuses were applied before the message", done, statuses)
	}
	r.eventually("the statuses", func() bool { return r.count(event.MessageStatus) == statuses })
}
