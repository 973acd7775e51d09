// Package receiver is what people put in Spillway's place: a listener that checks
// signatures, and something that keeps webhooks.
//
//	POST ──▶ fasthttp (Spillway's own listener) ──▶ NATS JetStream | Redis stream | PostgreSQL | memory
//	POST ──▶ net/http ──▶ a file, one fsync a request
//
// Kept reads back what was kept, after whatever has happened to it.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	goredis "github.com/redis/go-redis/v9"

	"spillway/bench/ack"
	"spillway/ingest"
)

// The kinds of receivers, by what keeps the webhooks.
const (
	NATS        = "nats"
	XADD        = "xadd"
	GroupedXADD = "xadd-grouped"
	Postgres    = "postgres"
	NetHTTP     = "nethttp"
	Memory      = "memory"
)

// Config says what keeps webhooks, and where.
type Config struct {
	Kind string
	// Data is the folder of those that keep webhooks in files of their own.
	Data string
	// Server is the address of what keeps them for the others.
	Server string
	// Streams is how many streams NATS has.
	Streams int
}

const (
	// addTimeout bounds the wait for a server.
	addTimeout = 10 * time.Second
	// endTimeout bounds the answers that are under way at the end.
	endTimeout = 5 * time.Second
)

// keeper is what keeps webhooks.
type keeper interface {
	ingest.Log
	Close() error
}

func (c Config) file() string { return filepath.Join(c.Data, "webhooks") }

func (c Config) keeper(ctx context.Context, reg prometheus.Registerer) (keeper, error) {
	switch c.Kind {
	case NATS:
		return newJetStream(ctx, c.Server, c.Streams)
	case XADD:
		return ack.NewAdder(c.Server, redisConnections), nil
	case GroupedXADD:
		return ack.NewStream(c.Server, reg)
	case Postgres:
		return newTable(ctx, c.Server)
	case Memory:
		return newQueue(c.file(), reg)
	}
	return nil, fmt.Errorf("kind %q: there is no such receiver", c.Kind)
}

// redisConnections is more than the client's default on two cores: the more
// commands wait at once, the more of them a sync of Redis is for.
const redisConnections = 128

// Run receives webhooks on a free loopback port until ctx ends.
func Run(ctx context.Context, cfg Config, logger *slog.Logger, listening func(ack.Addresses)) error {
	if cfg.Kind == NetHTTP {
		return runNetHTTP(ctx, cfg.file(), listening)
	}
	registry := prometheus.NewRegistry()
	keeper, err := cfg.keeper(ctx, registry)
	if err != nil {
		return err
	}
	return errors.Join(listen(ctx, keeper, registry, logger, listening), keeper.Close())
}

func listen(ctx context.Context, keeper keeper, registry *prometheus.Registry, logger *slog.Logger, listening func(ack.Addresses)) error {
	cfg := ingest.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.Apps = []ingest.App{{Name: "default", VerifyToken: ack.Secret, Secrets: []string{ack.Secret}}}
	server, err := ingest.New(cfg, keeper, nil, logger, registry)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), server.Close())
	}
	metrics := http.Server{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	served := make(chan error, 2)
	go func() { served <- server.Serve() }()
	go func() { served <- ignoreClosed(metrics.Serve(listener)) }()
	listening(ack.Addresses{Public: server.Addr().String(), Admin: listener.Addr().String()})
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return errors.Join(server.Shutdown(ending), metrics.Close(), <-served, <-served)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Kept gives each webhook that was kept, or what was made of it; it is valid
// during the call. Nothing may be received meanwhile.
func Kept(ctx context.Context, cfg Config, each func(webhook []byte)) error {
	switch cfg.Kind {
	case NATS:
		return readJetStream(ctx, cfg.Server, cfg.Streams, each)
	case XADD, GroupedXADD:
		client := goredis.NewClient(&goredis.Options{Addr: cfg.Server})
		return errors.Join(ack.ReadStream(ctx, client, each), client.Close())
	case Postgres:
		return readTable(ctx, cfg.Server, each)
	case NetHTTP, Memory:
		return readRecords(cfg.file(), each)
	}
	return fmt.Errorf("kind %q: there is no such receiver", cfg.Kind)
}

// unbounded is for keepers that refuse nothing and do not know how long they take.
type unbounded struct{}

// Ready is always nil.
func (unbounded) Ready() error { return nil }

// CommitTime is not known.
func (unbounded) CommitTime() time.Duration { return 0 }
