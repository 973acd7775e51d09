package redis

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
	"spillway/dispatch/store/storetest"
)

// clock is a clock that tests move; it runs on by itself besides.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func startServer(t testing.TB, opts localredis.Options) *localredis.Server {
	t.Helper()
	server, err := localredis.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
	return server
}

func testConfig(addrs ...string) Config {
	cfg := DefaultConfig()
	cfg.Addrs, cfg.Partitions = addrs, 8
	return cfg
}

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// saving is a store whose server saves all it has whenever cursors are asked for,
// so that what was applied since is what a kill loses.
type saving struct {
	*Store
	client *goredis.Client
}

func (s saving) Cursors(ctx context.Context, source store.Source) ([]store.Cursor, error) {
	cursors, err := s.Store.Cursors(ctx, source)
	if err != nil {
		return nil, err
	}
	return cursors, s.client.Save(ctx).Err()
}

func TestSuite(t *testing.T)      { onServer(t, storetest.Run) }
func TestDeliveries(t *testing.T) { onServer(t, storetest.Deliveries) }

// suite is one of those in storetest.
type suite func(t *testing.T, open func(*testing.T, storetest.Options) *storetest.Harness)

// onServer holds a store on a single server to a suite.
func onServer(t *testing.T, run suite) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	// A server that is started again has a goroutine that waits for its end.
	waits := goleak.IgnoreAnyFunction("spillway/dispatch/store/redis/localredis.launch.func1")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), waits)
	run(t, func(t *testing.T, opts storetest.Options) *storetest.Harness {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		clock := new(clock)
		cfg := testConfig(server.Addr())
		cfg.Partitions, cfg.Window, cfg.ContactTTL = opts.Partitions, opts.Window, opts.ContactTTL
		cfg.Retain, cfg.RetainBytes, cfg.Now = opts.Retain, opts.RetainBytes, clock.now
		s := saving{mustOpen(t, cfg), client}
		reopen := func(t testing.TB) storetest.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = saving{mustOpen(t, cfg), client}
			return s
		}
		return &storetest.Harness{
			Store:  s,
			Reopen: reopen,
			Lose: func(t testing.TB) storetest.Store {
				server.Kill()
				if err := server.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				return s // which finds its way by itself
			},
			Advance: func(t testing.TB, d time.Duration) {
				clock.advance(d)
				if err := age(t.Context(), client, d); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// group is several servers that are one Redis.
type group interface {
	Addrs() []string
	Stop() error
}

func stopAfter(t testing.TB, g group, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
}

func startSentinel(t testing.TB, opts localredis.Options) *localredis.Sentinel {
	t.Helper()
	g, err := localredis.StartSentinel(t.Context(), 1, opts)
	stopAfter(t, g, err)
	return g
}

func startCluster(t testing.TB, opts localredis.Options) *localredis.Cluster {
	t.Helper()
	g, err := localredis.StartCluster(t.Context(), opts)
	stopAfter(t, g, err)
	return g
}

// suitesOf holds a store on several servers to the suites; each test has a prefix
// of its own.
func suitesOf(t *testing.T, cfg Config) {
	suiteOf(t, cfg, "test", storetest.Run)
	suiteOf(t, cfg, "deliveries", storetest.Deliveries)
}

func suiteOf(t *testing.T, cfg Config, prefix string, run suite) {
	n := 0
	run(t, func(t *testing.T, opts storetest.Options) *storetest.Harness {
		cfg := cfg
		n++
		cfg.Prefix = fmt.Sprint(prefix, n)
		cfg.Partitions, cfg.Window, cfg.ContactTTL = opts.Partitions, opts.Window, opts.ContactTTL
		cfg.Retain, cfg.RetainBytes = opts.Retain, opts.RetainBytes
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
			Lacks: map[string]string{
				storetest.Lose:    "a loss of several servers is the subject of tests of its own",
				storetest.Advance: "keys expire on each server as on a single one",
			},
		}
	})
}

func TestSuiteSentinel(t *testing.T) {
	t.Parallel()
	g := startSentinel(t, localredis.Options{})
	cfg := testConfig(g.Addrs()...)
	cfg.Master = g.Master()
	suitesOf(t, cfg)
}

func TestSuiteCluster(t *testing.T) {
	t.Parallel()
	suitesOf(t, testConfig(startCluster(t, localredis.Options{}).Addrs()...))
}

// age makes a server's keys older, and drops those that are due; leases and members,
// which are over by the server's clock, as well.
func age(ctx context.Context, client *goredis.Client, d time.Duration) error {
	if err := ageLeases(ctx, client, d); err != nil {
		return err
	}
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		return err
	}
	for _, key := range keys {
		ttl, err := client.PTTL(ctx, key).Result()
		if err != nil {
			return err
		}
		if ttl < 0 {
			continue // for ever
		}
		if ttl <= d {
			err = client.Del(ctx, key).Err()
		} else {
			err = client.PExpire(ctx, key, ttl-d).Err()
		}
		if err != nil {
			return fmt.Errorf("age %s: %w", key, err)
		}
	}
	return nil
}

func ageLeases(ctx context.Context, client *goredis.Client, d time.Duration) error {
	members := membersKey(DefaultConfig().Prefix)
	owners, err := client.ZRange(ctx, members, 0, -1).Result()
	if err != nil {
		return err
	}
	for _, owner := range owners {
		if err := client.ZIncrBy(ctx, members, -float64(d.Milliseconds()), owner).Err(); err != nil {
			return err
		}
	}
	shares, err := client.Keys(ctx, "*}:deliver:*").Result()
	if err != nil {
		return err
	}
	for _, share := range shares {
		if strings.Count(share, ":") > 3 { // not its lease
			continue
		}
		if leased, err := client.HExists(ctx, share, "until").Result(); err != nil || !leased {
			if err != nil {
				return err
			}
			continue
		}
		if err := client.HIncrBy(ctx, share, "until", -d.Milliseconds()).Err(); err != nil {
			return err
		}
	}
	return nil
}
