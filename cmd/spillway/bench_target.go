package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"spillway/bench/ack"
	"spillway/cmd/spillway/config"
	"spillway/dispatch/store/redis/localredis"
	"spillway/ingest"
)

// benchSecret is the app secret of receivers that are measured.
const benchSecret = ack.Secret

// anyPort listens on one that is free.
const anyPort = "127.0.0.1:0"

// startTarget runs a receiver of a kind as a process of its own over a new
// folder, and the Redis it needs beside it with its data in the same folder.
func startTarget(ctx context.Context, kind, data string, stderr io.Writer) (*ack.Target, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	args := []string{"bench", "target", "--kind", kind, "--data", data}
	if !ack.NeedsRedis(kind) {
		target, err := runTarget(ctx, args, stderr, func() error { return os.RemoveAll(data) })
		if err == nil {
			target.Dispatches = ack.Dispatches(kind)
		}
		return target, err
	}
	server, err := localredis.Start(ctx, benchRedis(kind, data))
	if err != nil {
		return nil, err
	}
	client := server.Client()
	target, err := runTarget(ctx, append(args, "--redis", server.Addr()), stderr, func() error {
		return errors.Join(client.Close(), server.Stop(), os.RemoveAll(data))
	})
	if err != nil {
		return nil, err
	}
	target.Redis, target.ServerPID, target.Dispatches = client, server.PID(), ack.Dispatches(kind)
	return target, nil
}

// benchRedis is what the Redis of a receiver is started with. Where the log keeps
// the webhooks Redis may lose its last second; where nothing else keeps them it
// may not.
func benchRedis(kind, data string) localredis.Options {
	o := localredis.Options{Dir: filepath.Join(data, "redis"), AppendOnly: true, Fsync: "everysec"}
	if kind != ack.OnRedis {
		o.Fsync = "always"
	}
	return o
}

// runTarget runs this program with the arguments until it is stopped; clear then
// removes what is left of it.
func runTarget(ctx context.Context, args []string, stderr io.Writer, clear func() error) (*ack.Target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find this program: %w", err), clear())
	}
	process, err := ack.Launch(ctx, self, args, stderr)
	if err != nil {
		return nil, errors.Join(err, clear())
	}
	return &ack.Target{
		Public: process.Public, Admin: process.Admin, PID: process.PID,
		Stop: func() error { return errors.Join(process.Stop(), clear()) },
	}, nil
}

// newBenchTargetCommand is the other side of runTarget.
func newBenchTargetCommand() *cobra.Command {
	var kind string
	cfg := benchConfig()
	cmd := &cobra.Command{
		Use:     "target",
		Short:   "Be a receiver that is measured, until standard input ends",
		Example: "  spillway bench target --kind serve --data FOLDER",
		Hidden:  true,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// An interrupt of the terminal is for the one that started it.
			signal.Ignore(os.Interrupt)
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			go func() {
				defer stop()
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
			}()
			listening := func(public, admin net.Addr) {
				_ = json.NewEncoder(cmd.OutOrStdout()).Encode(ack.Addresses{Public: public.String(), Admin: admin.String()})
			}
			lines, err := newLogger(cmd.ErrOrStderr(), "text", "warn")
			if err != nil {
				return err
			}
			defer lines.Flush()
			cfg.Stream.SocketsPerToken = cfg.Stream.Sockets // one token opens them all
			return beTarget(ctx, kind, cfg, slog.New(lines), listening)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the `kind`: ceiling, file, paused, serve, redis, xadd or xadd-grouped")
	cmd.Flags().StringVar(&cfg.Data, "data", "", "the `folder` for its data")
	cmd.Flags().StringVar(&cfg.Listen, "listen", anyPort, "its public `address`")
	cmd.Flags().StringVar(&cfg.Admin, "admin", anyPort, "its private `address`")
	cmd.Flags().StringSliceVar(&cfg.Redis.Addrs, "redis", nil, "the `addresses` of its Redis, for redis, xadd and xadd-grouped")
	cmd.Flags().StringVar(&cfg.Redis.Prefix, "redis-prefix", cfg.Redis.Prefix, "the `prefix` of its keys")
	cmd.Flags().IntVar(&cfg.Stream.Sockets, "sockets", cfg.Stream.Sockets, "how `many` WebSockets it lets be open")
	cmd.Flags().IntVar(&cfg.Limits.Connections, "connections", cfg.Limits.Connections, "how `many` other connections it lets be open")
	return cmd
}

func benchConfig() config.Config {
	cfg := config.DefaultConfig()
	cfg.Apps = []config.App{{Name: config.DefaultApp, VerifyToken: benchSecret, AppSecrets: []string{benchSecret}}}
	cfg.Stream.JWTSecret = ack.StreamSecret
	cfg.Stream.Sockets = 1000 // as many files as most shells allow
	cfg.Redis = redisVariables(cfg)
	return cfg
}

func beTarget(ctx context.Context, kind string, cfg config.Config, logger *slog.Logger, listening func(public, admin net.Addr)) error {
	if ack.NeedsRedis(kind) != (len(cfg.Redis.Addrs) > 0) {
		return usageError("--redis must be given for redis, xadd and xadd-grouped, and for no other kind")
	}
	registry := prometheus.NewRegistry()
	switch kind {
	case ack.Ceiling:
		return listenOnly(ctx, cfg, registry, ack.NoLog{}, logger, listening)
	case ack.File:
		file, err := ack.NewPlainFile(filepath.Join(cfg.Data, "webhooks"), registry)
		if err != nil {
			return err
		}
		return errors.Join(listenOnly(ctx, cfg, registry, file, logger, listening), file.Close())
	case ack.XADD:
		adder := ack.NewAdder(cfg.Redis.Addrs[0], 0)
		return errors.Join(listenOnly(ctx, cfg, registry, adder, logger, listening), adder.Close())
	case ack.GroupedXADD:
		stream, err := ack.NewStream(cfg.Redis.Addrs[0], registry)
		if err != nil {
			return err
		}
		return errors.Join(listenOnly(ctx, cfg, registry, stream, logger, listening), stream.Close())
	case ack.Paused, ack.Serve, ack.OnRedis:
		cfg.Paused = kind == ack.Paused
		return run(ctx, cfg, logger, newReloads(), listening)
	}
	return usageError("--kind %q is not allowed; allowed: %v", kind, ack.Kinds)
}

// listenOnly runs the listener over a log that is not Spillway's.
func listenOnly(ctx context.Context, cfg config.Config, registry *prometheus.Registry, log ingest.Log,
	logger *slog.Logger, listening func(public, admin net.Addr)) error {
	server, err := ingest.New(ingestConfig(cfg), log, nil, logger, registry)
	if err != nil {
		return err
	}
	admin, err := newAdmin(cfg.Admin, registry, log.Ready, nil, logger)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	served := make(chan error, 2)
	go func() { served <- server.Serve() }()
	go func() { served <- admin.serve() }()
	listening(server.Addr(), admin.addr())
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = server.Shutdown(ending)
	admin.close(ending)
	return errors.Join(err, <-served, <-served)
}
