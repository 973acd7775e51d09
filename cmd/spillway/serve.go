package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/cmd/spillway/logger"
)

// serveOptions are what `serve` was told.
type serveOptions struct {
	configFile          string
	dev                 bool
	logFormat, logLevel string
	// flags are the config's values by key.
	flags map[string]string
}

// configFlags are the settings that are common enough for a flag of their own.
var configFlags = []struct{ key, usage string }{
	{"listen", "the public `address`, host:port (default 127.0.0.1:8080)"},
	{"admin", "the private `address`, host:port (default 127.0.0.1:9090)"},
	{"data", "the `folder` of the log and the store (default ./data)"},
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Receive webhooks and stream their events",
		Long: `Serve receives webhooks at /api/webhook and streams their events at /ws.

A setting comes from its flag, else its variable (SPILLWAY_LISTEN for listen,
SPILLWAY_LOG_RETAIN for log.retain), else the file, else its default. --dev makes
the secrets on first use, keeps them in DATA/dev.env, and listens on loopback only.

SIGHUP reads apps, secrets, endpoints and certificates again. SIGTERM ends it in
order, a second one at once. Exits 2 where the config is wrong, 3 where the disk
failed.`,
		Example: `  spillway serve --dev
  spillway serve --config spillway.yaml
  SPILLWAY_APP_SECRET=… SPILLWAY_VERIFY_TOKEN=… SPILLWAY_JWT_SECRET=… spillway serve --listen :8080`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.flags = map[string]string{}
			for _, f := range configFlags {
				if flag := cmd.Flags().Lookup(f.key); flag.Changed {
					o.flags[f.key] = flag.Value.String()
				}
			}
			return o.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.configFile, "config", "", "the config `file`")
	flags.BoolVar(&o.dev, "dev", false, "make secrets in DATA/dev.env, listen on loopback only")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	for _, f := range configFlags {
		flags.String(f.key, "", f.usage)
	}
	return cmd
}

// serve loads the config and runs the receiver until a signal ends it.
func (o *serveOptions) serve(ctx context.Context, stdout, stderr io.Writer) error {
	lines, err := newLogger(stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	defer lines.Flush()
	logger := slog.New(lines)
	cfg, err := o.load()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	reloads := newReloads()
	go o.watchSignals(ctx, stop, logger, reloads)
	return run(ctx, cfg, logger, reloads, func(public, admin net.Addr) {
		logger.Info("listening", "public", public.String(), "admin", admin.String())
		if !cfg.Dev {
			return
		}
		text, err := nextCommands(cfg, public.String(), time.Now())
		if err != nil {
			logger.Warn("no commands to show: a token cannot be made", "error", err)
			return
		}
		fmt.Fprintf(stdout, "\n%s\n", text)
	})
}

func (o *serveOptions) load() (config.Config, error) {
	return config.Load(config.Options{File: o.configFile, Environ: os.Environ(), Flags: o.flags, Dev: o.dev})
}

// watchSignals stops the receiver at the first SIGINT or SIGTERM and the
// process at the second, and sends the config again at each SIGHUP. It returns
// only when the process ends, so that the second signal is always heard.
func (o *serveOptions) watchSignals(ctx context.Context, stop context.CancelFunc, logger *slog.Logger, reloads *reloads) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	for received := range signals {
		switch {
		case received == syscall.SIGHUP:
			cfg, err := o.load()
			if err != nil {
				reloads.count(err)
				logger.Error("reload changed nothing", "error", err)
				continue
			}
			reloads.offer(cfg)
		case ctx.Err() == nil:
			logger.Info("stopping; a second signal ends it at once", "signal", received.String())
			stop()
		default:
			// The default action of the signal, so that its sender sees how it ended.
			signal.Reset(os.Interrupt, syscall.SIGTERM)
			_ = syscall.Kill(os.Getpid(), received.(syscall.Signal))
		}
	}
}

// durationText writes durations as Go prints them, in JSON too, where they would be
// numbers without a unit.
func durationText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newLogger logs to w in the format, from the level on, without most repeats.
func newLogger(w io.Writer, format, level string) (*logger.Handler, error) {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
		return nil, usageError("--log-level %q is not allowed; allowed: debug, info, warn, error", level)
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "text":
		return logger.NewHandler(slog.NewTextHandler(w, options)), nil
	case "json":
		options.ReplaceAttr = durationText
		return logger.NewHandler(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usageError("--log-format %q is not allowed; allowed: text, json", format)
}
