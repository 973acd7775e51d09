package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/embedded"
	"spillway/wal"
)

const testPartitions = 8

// errInjected is what a store that is made to fail answers.
var errInjected = errors.New("injected")

// unreliable is a real store whose calls can be made to fail, and which can be
// swapped for another one, as a store that was restored is.
type unreliable struct {
	inner atomic.Pointer[embedded.Store]
	// before and after are called around Apply; an error of before prevents it,
	// one of after hides that it took effect.
	mu            sync.Mutex
	before, after func(*store.Batch) error
}

func (u *unreliable) hooks(before, after func(*store.Batch) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.before, u.after = before, after
}

// away makes every Apply to one partition fail.
func (u *unreliable) away(partition int) {
	u.hooks(func(b *store.Batch) error {
		if b.Partition == partition {
			return errInjected
		}
		return nil
	}, nil)
}

func (u *unreliable) Partitions() int { return testPartitions }

// Cursors are not known of partitions that are away.
func (u *unreliable) Cursors(ctx context.Context, source store.Source) ([]store.Cursor, error) {
	cursors, err := u.inner.Load().Cursors(ctx, source)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	before := u.before
	u.mu.Unlock()
	missing := make(map[int]error)
	for p := range cursors {
		if before == nil {
			break
		}
		if err := before(&store.Batch{Partition: p}); err != nil {
			cursors[p], missing[p] = store.Cursor{}, err
		}
	}
	return cursors, store.MissingPartitions(missing, len(cursors))
}

func (u *unreliable) Claim(ctx context.Context, claims []store.Claim) ([]store.Claimed, error) {
	return u.inner.Load().Claim(ctx, claims)
}

func (u *unreliable) Apply(ctx context.Context, batch *store.Batch) (store.Result, error) {
	u.mu.Lock()
	before, after := u.before, u.after
	u.mu.Unlock()
	if before != nil {
		if err := before(batch); err != nil {
			return store.Result{}, err
		}
	}
	result, err := u.inner.Load().Apply(ctx, batch)
	if err == nil && after != nil {
		if err := after(batch); err != nil {
			return store.Result{}, err
		}
	}
	return result, err
}

// rig is a dispatcher between a real log and a real store, both on a file
// system in memory.
type rig struct {
	t     *testing.T
	logs  *syncBuilder
	logFS *vfs.MemFS
	log   *wal.Log
	store *unreliable
	d     *Dispatcher
	stop  func()
	next  int
	// tracer is told of the calls; nil for none.
	tracer Tracer
}

// syncBuilder is a strings.Builder for many goroutines.
type syncBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuilder) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuilder) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newRigOf(t, vfs.NewCrashableMem(), vfs.NewCrashableMem())
	t.Cleanup(r.close)
	return r
}

// newRigOf is a rig whose log and store are where they are told to be; close it.
func newRigOf(t *testing.T, logFS, storeFS *vfs.MemFS) *rig {
	t.Helper()
	r := &rig{t: t, logs: new(syncBuilder), logFS: logFS, store: new(unreliable), stop: func() {}}
	r.log = r.openLog(logFS)
	r.store.inner.Store(r.openStore(storeFS))
	return r
}

func (r *rig) close() {
	r.stop()
	_ = r.log.Close()
	_ = r.store.inner.Load().Close()
	if r.t.Failed() {
		r.t.Logf("log:\n%s", r.logs)
	}
}

func (r *rig) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r.logs, nil)) }

func (r *rig) openLog(fs vfs.FS) *wal.Log {
	r.t.Helper()
	config := wal.DefaultConfig()
	config.Dir, config.FS, config.MinFree = "log", fs, 0
	log, err := wal.Open(config, r.logger(), prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	return log
}

func (r *rig) openStore(fs vfs.FS) *embedded.Store {
	r.t.Helper()
	config := embedded.DefaultConfig()
	config.Dir, config.FS, config.Partitions = "store", fs, testPartitions
	st, err := embedded.Open(config, r.logger(), prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = st.Close() })
	return st
}

// start runs a dispatcher until stop.
func (r *rig) start() {
	r.t.Helper()
	r.startIn(r.t.TempDir())
}

// startIn does so with the marks of suspect records in dir.
func (r *rig) startIn(dir string) {
	r.t.Helper()
	config := DefaultConfig()
	config.Dir = dir
	config.BatchRecords, config.QueueSteps = 16, 2
	config.WatchInterval = 20 * time.Millisecond
	config.Tracer = r.tracer
	d, err := New(config, r.log, r.store, r.logger(), prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	r.d = d
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
}

func (r *rig) append(lane wal.Lane, body string) {
	r.t.Helper()
	err := r.log.Append(lane, wal.Record{Received: time.Now(), App: "default", Signature: make([]byte, 32), Body: []byte(body)})
	if err != nil {
		r.t.Fatal(err)
	}
}

// message appends a message of a customer; its text is its number.
func (r *rig) message(customer int) {
	r.t.Helper()
	r.next++
	r.append(wal.Express, messageBody(customer, r.next))
}

func messageBody(customer, number int) string {
	return fmt.Sprintf(`{"entry":[{"id":"waba","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"messages":[{"from":"c%d","id":"wamid.%d","timestamp":"%d","type":"text","text":{"body":"%d"}}]}}]}]}`,
		customer, number, time.Now().Unix(), number)
}

func (r *rig) messages(n int) {
	r.t.Helper()
	for i := range n {
		r.message(i % 20)
	}
}

// status appends a status to the bulk lane.
func (r *rig) status(wamid, status string) {
	r.t.Helper()
	r.append(wal.Bulk, fmt.Sprintf(`{"entry":[{"id":"waba","changes":[{"field":"messages","value":{"statuses":[{"id":%q,"status":%q,"timestamp":"%d","recipient_id":"c1"}]}}]}]}`,
		wamid, status, time.Now().Unix()))
}

// events gives all events of a partition's stream.
func (r *rig) events(partition int) []store.Entry {
	r.t.Helper()
	entries, err := r.store.inner.Load().Read(r.t.Context(), partition, store.Place{}, 1<<20, 1<<30)
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

func (r *rig) count(types ...string) int {
	r.t.Helper()
	n := 0
	for p := range testPartitions {
		for _, e := range r.events(p) {
			for _, t := range types {
				if e.Type == t {
					n++
				}
			}
		}
	}
	return n
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// wantMessages waits for n messages, and wants each once and in order.
func (r *rig) wantMessages(n int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d messages", n), func() bool { return r.count(event.MessageNew) >= n })
	seen := make(map[string]bool)
	for p := range testPartitions {
		last := make(map[string]int) // by customer
		for _, e := range r.events(p) {
			if e.Type != event.MessageNew {
				continue
			}
			customer, number := field(e.Payload, `"from":"`), atoi(field(e.Payload, `"text":"`))
			if number <= last[customer] {
				r.t.Errorf("message %d of %s comes after message %d", number, customer, last[customer])
			}
			last[customer] = number
			if uid := e.UID.String(); seen[uid] {
				r.t.Errorf("message %d came twice", number)
			} else {
				seen[uid] = true
			}
		}
	}
	if len(seen) != n {
		r.t.Errorf("%d messages, want %d", len(seen), n)
	}
}

// field gives the string that follows start in a payload.
func field(payload []byte, start string) string {
	_, rest, _ := strings.Cut(string(payload), start)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

func (r *rig) rewinds() float64 {
	return testutil.ToFloat64(r.d.metrics.rewinds.WithLabelValues(wal.Express.String()))
}

func itoa(n int) string { return fmt.Sprint(n) }
