package embedded

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"spillway/dispatch/store/storetest"
)

// clock is a clock that tests move; it runs on by itself besides.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// testConfig is a small store in memory.
func testConfig(fs vfs.FS) Config {
	cfg := DefaultConfig()
	cfg.Dir, cfg.FS, cfg.Partitions = "store", fs, 8
	cfg.CacheBytes, cfg.MemtableBytes = 4<<20, 1<<20
	return cfg
}

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestSuite(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	storetest.Run(t, openHarness)
}

func TestDeliveriesSuite(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	storetest.Deliveries(t, openHarness)
}

// openHarness opens a store in memory that can crash.
func openHarness(t *testing.T, opts storetest.Options) *storetest.Harness {
	fs := vfs.NewCrashableMem()
	clock := new(clock)
	cfg := testConfig(fs)
	cfg.Partitions, cfg.Window, cfg.ContactTTL = opts.Partitions, opts.Window, opts.ContactTTL
	cfg.Retain, cfg.RetainBytes, cfg.Now = opts.Retain, opts.RetainBytes, clock.now
	s := mustOpen(t, cfg)
	return &storetest.Harness{
		Store: s,
		Reopen: func(t testing.TB) storetest.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, cfg)
			return s
		},
		Lose: func(t testing.TB) storetest.Store {
			fs = fs.CrashClone(vfs.CrashCloneCfg{})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			cfg.FS = fs
			s = mustOpen(t, cfg)
			return s
		},
		Advance: func(t testing.TB, d time.Duration) {
			clock.advance(d)
			for _, err := range []error{s.expireSeen(), s.expireContacts(), s.trim()} {
				if err != nil {
					t.Fatal(err)
				}
			}
		},
	}
}
