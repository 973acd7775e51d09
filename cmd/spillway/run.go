package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"spillway/cmd/spillway/config"
	"spillway/dispatch"
	"spillway/dispatch/deliver"
	"spillway/dispatch/stream"
	"spillway/dispatch/trace"
	"spillway/ingest"
	"spillway/wal"
)

// shutdownTimeout bounds an orderly end: what is not done by then is left to
// the next start, which loses nothing but time.
const shutdownTimeout = 10 * time.Second

// socketsTimeout is what of an end sockets have to themselves.
const socketsTimeout = 5 * time.Second

// errDisk ends the process with exitDisk.
var errDisk = errors.New("the disk failed")

// receiver is all the parts of a running Spillway, in the order of the data's
// way through them.
//
//	Meta ──POST──▶ server ──▶ log ──▶ dispatcher ──▶ store ──▶ stream ──▶ subscribers
//	                              admin: metrics, health, profiles, contacts, log
//
// It is built from right to left, so that each part finds the next one ready,
// and closed from left to right, so that what one part still hands on is taken.
type receiver struct {
	logger     *slog.Logger
	store      eventStore
	log        *wal.Log
	dispatcher *dispatch.Dispatcher
	stream     *stream.Server
	deliverer  *deliver.Deliverer
	server     *ingest.Server
	admin      *admin
	// tracer is nil where nothing is traced.
	tracer *trace.Tracer

	// failed gets what ends the process: a failed disk, a listener that died.
	failed   chan error
	stopping atomic.Bool
	reloads  *reloads
	// started is the config it was started with.
	started config.Config
}

// run runs a receiver until ctx ends or a part fails. It calls listening once
// with the addresses it listens on, and takes a new config from reloads.
func run(ctx context.Context, cfg config.Config, logger *slog.Logger, reloads *reloads, listening func(public, admin net.Addr)) (err error) {
	r := &receiver{logger: logger, failed: make(chan error, 8), started: cfg, reloads: reloads}
	defer func() {
		if closeErr := r.close(); err == nil {
			err = closeErr
		} else if closeErr != nil {
			r.logger.Error("closing failed", "error", closeErr)
		}
	}()
	if err := r.open(ctx, cfg); err != nil {
		return err
	}
	parts, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	start := func(name string, part func() error) {
		running.Go(func() {
			if err := part(); err != nil {
				r.fail(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if !cfg.Paused {
		start("dispatch", func() error { return r.dispatcher.Run(parts) })
	}
	start("deliver", func() error { return r.deliverer.Run(parts) })
	r.stream.Start()
	start("public listener", r.server.Serve)
	start("admin listener", r.admin.serve)
	listening(r.server.Addr(), r.admin.addr())

	err = r.wait(ctx)
	r.shutdown(stop)
	// A part may wait for a failed disk for ever, and for a full one for long.
	if !errors.Is(err, errDisk) && !within(shutdownTimeout, running.Wait) {
		r.logger.Warn("a part does not end in time: left to the next start, which loses nothing")
	}
	return err
}

// fail reports what ends the process; the first report counts.
func (r *receiver) fail(err error) {
	select {
	case r.failed <- err:
	default:
	}
}

// wait returns when ctx ends or a part has failed; meanwhile it reloads.
func (r *receiver) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.failed:
			return err
		case cfg := <-r.reloads.next:
			err := r.reload(cfg)
			r.reloads.count(err)
			if err != nil {
				r.logger.Error("reload changed nothing", "error", err)
				continue
			}
			r.logger.Info("reloaded apps, secrets, endpoints and certificates from the file; variables stay as they were at the start")
			if !reflect.DeepEqual(unreloaded(cfg), unreloaded(r.started)) {
				r.logger.Warn("other settings have changed too: they need a restart")
			}
		}
	}
}

// open builds the parts. What was built when it fails is closed by close.
func (r *receiver) open(ctx context.Context, cfg config.Config) (err error) {
	registry := prometheus.NewRegistry()
	logFigures := newPebbleFigures("log").withFailover()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newBuildInfo(), r.reloads)
	if lines, ok := r.logger.Handler().(prometheus.Collector); ok {
		registry.MustRegister(lines)
	}
	diskFailed := func(err error) { r.fail(fmt.Errorf("%w: %w", errDisk, err)) }

	logConfig := logConfig(cfg)
	logConfig.OnFatal, logConfig.OnStall = diskFailed, logFigures.onStall
	if r.log, err = wal.Open(logConfig, r.logger, registry); err != nil {
		return err
	}
	logFigures.read = r.log.PebbleMetrics
	registry.MustRegister(logFigures, r.readyMetric())
	if err := noteStore(cfg); err != nil {
		return fmt.Errorf("note store: %w", err)
	}
	if r.store, err = openStore(ctx, cfg, storeOptions{onFatal: r.storeFailed(cfg, diskFailed)}, r.logger, registry); err != nil {
		return err
	}
	streaming, dispatching, taking := streamConfig(cfg), dispatch.DefaultConfig(), intake{log: r.log}
	dispatching.Dir, dispatching.Refill = cfg.Data, cfg.Redis.Refill
	if cfg.Tracing.Endpoint != "" {
		if r.tracer, err = trace.New(traceConfig(cfg, r.log.Node()), r.logger); err != nil {
			return err
		}
		streaming.Tracer, dispatching.Tracer, taking.acked = r.tracer, r.tracer, r.tracer.Acked
	}
	if r.stream, err = stream.New(streaming, r.store, r.logger, registry); err != nil {
		return err
	}
	if r.deliverer, err = deliver.New(deliverConfig(cfg), r.store, r.logger, registry); err != nil {
		return err
	}
	if err := r.deliverer.Reload(deliverEndpoints(cfg)); err != nil {
		return err
	}
	if r.dispatcher, err = dispatch.New(dispatching, r.log, r.store, r.logger, registry); err != nil {
		return err
	}
	if r.server, err = ingest.New(ingestConfig(cfg), taking, r.stream.Handler, r.logger, registry); err != nil {
		return err
	}
	source, err := r.logSource(cfg)
	if err != nil {
		return err
	}
	if r.admin, err = newAdmin(cfg.Admin, registry, r.ready, r.store, r.logger); err != nil {
		return err
	}
	r.admin.showLog(source)
	r.admin.showDeliver(r.deliverer)
	return nil
}

// storeFailed is what becomes of a store that can do no more: the embedded one
// is on the disk.
func (r *receiver) storeFailed(cfg config.Config, diskFailed func(error)) func(error) {
	if len(cfg.Redis.Addrs) == 0 {
		return diskFailed
	}
	return func(err error) { r.fail(fmt.Errorf("redis: %w", err)) }
}

// logSource is the log as the admin listener shows it.
func (r *receiver) logSource(cfg config.Config) (logSource, error) {
	replayer, err := dispatch.NewReplayer(dispatch.ReplayConfig{Window: cfg.Dedupe.Window}, r.log, r.store)
	if err != nil {
		return nil, err
	}
	return &localLog{log: r.log, folder: realPath(logConfig(cfg).Dir), behind: r.dispatcher.Behind, replayer: replayer}, nil
}

// ready is nil where webhooks are taken, else why not.
func (r *receiver) ready() error {
	if r.stopping.Load() {
		return errors.New("shutting down")
	}
	return r.log.Ready()
}

// readyMetric tells what ready does.
func (r *receiver) readyMetric() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "spillway_ready",
		Help: "1 where webhooks are taken, 0 where they are answered 503; /readyz says why.",
	}, func() float64 {
		if r.ready() != nil {
			return 0
		}
		return 1
	})
}

// reload swaps what can change while running.
func (r *receiver) reload(cfg config.Config) error {
	if err := r.server.Reload(ingestConfig(cfg).Apps, ingestConfig(cfg).TLS); err != nil {
		return err
	}
	if err := r.deliverer.Reload(deliverEndpoints(cfg)); err != nil {
		return err
	}
	return r.stream.Reload(cfg.Stream.JWTSecret, cfg.Stream.JWTPublicKey)
}

// unreloaded is what of a config a reload does not take over.
func unreloaded(cfg config.Config) config.Config {
	cfg.Apps = nil
	cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.ClientCA, cfg.TLS.ClientName = "", "", "", ""
	cfg.Stream.JWTSecret, cfg.Stream.JWTPublicKey = "", ""
	cfg.Endpoints = nil
	return cfg
}

// shutdown stops the parts that take in, from left to right, within
// shutdownTimeout and socketsTimeout; stop ends dispatching.
func (r *receiver) shutdown(stop context.CancelFunc) {
	r.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := r.server.Shutdown(ctx); err != nil {
		r.logger.Warn("some requests were cut short", "error", err)
	}
	stop()
	// Sockets are told, even where requests took all the time there was.
	closing, cancelClosing := context.WithTimeout(context.WithoutCancel(ctx), socketsTimeout)
	defer cancelClosing()
	if err := r.stream.Close(closing); err != nil {
		r.logger.Warn("some sockets were cut short", "error", err)
	}
	r.admin.close(ctx)
}

// close closes what open built. A failed log or store cannot be closed: that is
// its error, and the process ends.
func (r *receiver) close() error {
	var err error
	closed := within(shutdownTimeout, func() {
		var errs []error
		if r.server != nil {
			errs = append(errs, r.server.Close())
		}
		if r.log != nil {
			errs = append(errs, r.log.Close())
		}
		if r.store != nil {
			errs = append(errs, r.store.Close())
		}
		if r.tracer != nil {
			r.tracer.Close()
		}
		err = errors.Join(errs...)
	})
	if !closed {
		r.logger.Warn("closing takes too long: left to the next start, which loses nothing")
		return nil
	}
	return err
}

// within runs f and reports whether it returned in time; else f is left behind.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// intake puts the listener's webhooks into the log.
type intake struct {
	log *wal.Log
	// acked is told when a webhook that is kept was received; nil for none.
	acked func(received time.Time)
}

func (i intake) Append(w *ingest.Webhook) error {
	lane := wal.Express
	if w.Bulk {
		lane = wal.Bulk
	}
	err := i.log.Append(lane, wal.Record{Received: w.Received, App: w.App, Signature: w.Signature, Body: w.Body})
	if i.acked != nil && err == nil {
		i.acked(w.Received)
	}
	return err
}

func (i intake) Ready() error { return i.log.Ready() }

func (i intake) CommitTime() time.Duration { return i.log.CommitTime() }

func logConfig(cfg config.Config) wal.Config {
	c := wal.DefaultConfig()
	c.Dir = filepath.Join(cfg.Data, "log")
	c.Retain, c.DeadRetain = cfg.Log.Retain, cfg.Log.DeadRetain
	c.MaxBytes, c.MinFree = int64(cfg.Log.MaxBytes), int64(cfg.Log.MinFree)
	c.FailoverDir = cfg.Log.FailoverDir
	return c
}

func traceConfig(cfg config.Config, node string) trace.Config {
	c := trace.Config{
		Endpoint: cfg.Tracing.Endpoint, Ratio: cfg.Tracing.Ratio,
		Version: currentBuild().Version, Instance: node, Store: "embedded",
	}
	if len(cfg.Redis.Addrs) > 0 {
		c.Store = "redis"
	}
	return c
}

func streamConfig(cfg config.Config) stream.Config {
	c := stream.DefaultConfig()
	c.Secret, c.PublicKey = cfg.Stream.JWTSecret, cfg.Stream.JWTPublicKey
	c.AllowedOrigins = cfg.Stream.AllowedOrigins
	c.Sockets, c.SocketsPerToken, c.Queue = cfg.Stream.Sockets, cfg.Stream.SocketsPerToken, cfg.Stream.Queue
	return c
}

func ingestConfig(cfg config.Config) ingest.Config {
	c := ingest.DefaultConfig()
	c.Listen = cfg.Listen
	for _, app := range cfg.Apps {
		c.Apps = append(c.Apps, ingest.App{Name: app.Name, VerifyToken: app.VerifyToken, Secrets: app.AppSecrets})
	}
	c.TLS = ingest.TLS{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key, ClientCA: cfg.TLS.ClientCA, ClientName: cfg.TLS.ClientName}
	c.MaxBody, c.MaxInFlight = int64(cfg.Limits.Body), int64(cfg.Limits.InFlight)
	c.MaxConnections, c.ReadTimeout = cfg.Limits.Connections, cfg.Limits.ReadTimeout
	c.ExtraFiles = cfg.Stream.Sockets
	return c
}
