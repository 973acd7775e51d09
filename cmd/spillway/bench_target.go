package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"spillway/bench/ack"
	"spillway/cmd/spillway/config"
	"spillway/ingest"
)

// benchSecret is the app secret of receivers that are measured. They listen on
// loopback, and what they hold is made up.
const benchSecret = "a secret for measuring only"

// benchAddresses is what a target prints once it listens.
type benchAddresses struct{ Public, Admin string }

// startTarget runs a receiver of a kind as a process of its own over a new
// folder.
func startTarget(ctx context.Context, kind, data string, stderr io.Writer) (*ack.Target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "bench", "target", "--kind", kind, "--data", data)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() error {
		_ = stdin.Close() // which tells it to end
		return errors.Join(cmd.Wait(), os.RemoveAll(data))
	}
	var a benchAddresses
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("it does not listen: %w", err), stop())
	}
	return &ack.Target{Public: a.Public, Admin: a.Admin, PID: cmd.Process.Pid, Stop: stop}, nil
}

// newBenchTargetCommand is the other side of startTarget.
func newBenchTargetCommand() *cobra.Command {
	var kind, data string
	cmd := &cobra.Command{
		Use:     "target",
		Short:   "Be a receiver that is measured, until standard input ends",
		Example: "  spillway bench target --kind serve --data FOLDER",
		Hidden:  true,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			go func() {
				defer stop()
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
			}()
			listening := func(public, admin net.Addr) {
				_ = json.NewEncoder(cmd.OutOrStdout()).Encode(benchAddresses{public.String(), admin.String()})
			}
			logger, err := newLogger(cmd.ErrOrStderr(), "text", "warn")
			if err != nil {
				return err
			}
			return beTarget(ctx, kind, benchConfig(data), logger, listening)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the `kind`: ceiling, file, paused or serve")
	cmd.Flags().StringVar(&data, "data", "", "the `folder` for its data")
	return cmd
}

func benchConfig(data string) config.Config {
	cfg := config.DefaultConfig()
	cfg.Listen, cfg.Admin, cfg.Data = "127.0.0.1:0", "127.0.0.1:0", data
	cfg.Apps = []config.App{{Name: config.DefaultApp, VerifyToken: benchSecret, AppSecrets: []string{benchSecret}}}
	cfg.Stream.JWTSecret = benchSecret + ", 32 bytes or more"
	return cfg
}

func beTarget(ctx context.Context, kind string, cfg config.Config, logger *slog.Logger, listening func(public, admin net.Addr)) error {
	switch kind {
	case ack.Ceiling:
		return listenOnly(ctx, cfg, prometheus.NewRegistry(), ack.NoLog{}, logger, listening)
	case ack.File:
		registry := prometheus.NewRegistry()
		file, err := ack.NewPlainFile(filepath.Join(cfg.Data, "webhooks"), registry)
		if err != nil {
			return err
		}
		return errors.Join(listenOnly(ctx, cfg, registry, file, logger, listening), file.Close())
	case ack.Paused, ack.Serve:
		cfg.Paused = kind == ack.Paused
		return run(ctx, cfg, logger, nil, listening)
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
