// Package redis is the store for several receivers: a single Redis, one behind
// Sentinels, or a Cluster, from version 6.2 on.
//
//	Claim ─▶ GET, and a script where a contact changes
//	Apply ─▶ one script a partition and batch: cursor, seen, contacts, stream
//	Follow ◀─ XRANGE, polled
//	Settle ─▶ one script a share: cursor, what waits, what is dead
//
// A batch takes effect in one script: it compares the cursor, reads what was
// seen, and writes only if nothing else has changed what the batch relies on.
// Redis does not roll back, so all reads come before the first write, and every
// key is declared: a script that meets half a slot, in the midst of a migration,
// fails as a whole.
//
// Redis may lose what it has acknowledged: a restart without its last second, a
// failover to a replica that lagged. Cursor and effects are lost together then,
// and whoever drains the log finds the older cursor and applies the rest again.
//
// Deliveries are lost together with the cursor of their share, too. What only a
// receiver remembers of them then is refused, and the share is taken anew.
//
// Places are Redis's own stream ids, and their times its servers' clocks. Clocks
// of the servers of one Redis have to agree within a second: a reader that comes
// back relies on it for the partitions other than that of the id it names.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout = 2 * time.Second
	// callTimeout bounds one exchange with a server; a call under a context may
	// take less.
	callTimeout = 5 * time.Second
	// poolPerServer is how many connections there may be to one server: one for
	// each worker of two lanes, and some for readers.
	poolPerServer = 96
	bufferBytes   = 64 << 10
)

// Store is a Redis as a store of events. It is safe for concurrent use.
type Store struct {
	cfg        Config
	client     goredis.UniversalClient
	logger     *slog.Logger
	metrics    *metrics
	partitions []*partition

	// open ends when Close begins; running counts what must end before it returns.
	open    context.Context
	close   context.CancelFunc
	running sync.WaitGroup

	// verified is true once the layout was found to be ours.
	verified atomic.Bool
	verify   chan struct{} // held by who finds out
	// opened is true once Open is done: what is wrong from then on is told by fatal.
	opened atomic.Bool
	fatal  sync.Once

	// news is closed and made anew after each batch that appended.
	newsMu sync.Mutex
	news   chan struct{}
}

// partition is what is remembered of one partition; the store itself is in Redis.
type partition struct {
	index int
	keys  partitionKeys
	days  *days
	away  absence
}

var errClosed = errors.New("store closed")

// Open makes a store. Where Redis answers it is checked for its version and for
// the layout, which is written where there is none; where it does not, this is
// done when it does: webhooks are taken meanwhile.
func Open(ctx context.Context, cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure redis: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Store{
		cfg: cfg, logger: logger,
		partitions: make([]*partition, cfg.Partitions),
		verify:     make(chan struct{}, 1), news: make(chan struct{}),
	}
	s.client = newClient(cfg, func() { s.metrics.dials.Inc() })
	s.open, s.close = context.WithCancel(context.Background())
	for i := range s.partitions {
		keys := newPartitionKeys(cfg.Prefix, i)
		s.partitions[i] = &partition{index: i, keys: keys, days: newDays(&keys)}
	}
	var err error
	if s.metrics, err = newMetrics(s, reg); err != nil {
		_ = s.Close()
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.ensure(within); IsMismatch(err) {
		_ = s.Close()
		return nil, err
	} else if err != nil {
		logger.Warn("redis does not answer: webhooks are taken, and dispatched once it does", "error", err)
	}
	s.opened.Store(true)
	s.running.Go(s.watch)
	return s, nil
}

// newClient calls connected, which may be nil, for each connection it makes.
func newClient(cfg Config, connected func()) goredis.UniversalClient {
	// It would write to standard error by itself what calls return as errors.
	goredis.SetLogger(&logging.VoidLogger{})
	options := &goredis.UniversalOptions{
		Addrs: cfg.Addrs, MasterName: cfg.Master, Username: cfg.Username, Password: cfg.Password, DB: cfg.DB,
		ClientName: "spillway", Protocol: 3,
		// Who calls tries again, and says so.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: dialTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout, ContextTimeoutEnabled: true,
		PoolSize: poolPerServer, MaxIdleConns: poolPerServer, MinIdleConns: 0, PoolTimeout: callTimeout,
		ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes,
		FailingTimeoutSeconds:    1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if connected != nil {
		options.OnConnect = func(context.Context, *goredis.Conn) error { connected(); return nil }
	}
	if cfg.TLS {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs}
	}
	return goredis.NewUniversalClient(options)
}

// Close ends what the store does by itself, and its connections. Calls under way
// fail.
func (s *Store) Close() error {
	s.close()
	s.running.Wait()
	s.metrics.Unregister()
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// Partitions is how many there are.
func (s *Store) Partitions() int { return len(s.partitions) }

// Window is the Config's.
func (s *Store) Window() time.Duration { return s.cfg.Window }

// begin starts an operation; done ends it with its error.
func (s *Store) begin(ctx context.Context, op string) (done func(error), err error) {
	began := time.Now()
	done = func(err error) { s.metrics.Observe(op, time.Since(began), err) }
	switch {
	case s.open.Err() != nil:
		err = errClosed
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = s.ensure(ctx)
	}
	if err != nil {
		done(err)
		return nil, err
	}
	return done, nil
}

// announce wakes those who follow.
func (s *Store) announce() {
	s.newsMu.Lock()
	defer s.newsMu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

func (s *Store) whenNews() <-chan struct{} {
	s.newsMu.Lock()
	defer s.newsMu.Unlock()
	return s.news
}
