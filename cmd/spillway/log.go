package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/dispatch"
	"spillway/wal"
)

func newLogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Look into the log and run it again",
		Long: `Log works on DATA/log, the webhooks as they came in. Where a receiver has it open,
it asks that receiver's admin listener; where none has, it opens the folder
itself, and no receiver can start on it until the command has ended.`,
		Example: `  spillway log stat
  spillway log cat --since 1h --grep-wamid wamid.HBgLMTY1MDU1NTEyMzQ
  spillway log dead list`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogStatCommand(), newLogCatCommand(), newLogVerifyCommand(), newLogReplayCommand(),
		newLogDeadCommand(), newLogDrainCommand())
	return cmd
}

// logOptions say which log is meant.
type logOptions struct {
	configFile, data, admin string
}

func (o *logOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.configFile, "config", "", "the config `file` of the receiver")
	flags.StringVar(&o.data, "data", "", "the `folder` of the receiver (default SPILLWAY_DATA, the config's data, or ./data)")
	flags.StringVar(&o.admin, "admin", "", "ask the admin listener at this `URL`, whatever --data is")
}

// load reads the config as serve would, but needs no secrets.
func (o *logOptions) load() (config.Config, error) {
	options := config.Options{File: o.configFile, Environ: os.Environ(), WithoutSecrets: true}
	if o.data != "" {
		options.Flags = map[string]string{"data": o.data}
	}
	return config.Load(options)
}

// do runs f on the log, until it is interrupted.
func (o *logOptions) do(cmd *cobra.Command, runs bool, f func(context.Context, logSource, *job) error) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	j := newJob(cmd.ErrOrStderr())
	return j.run(func() error {
		source, err := o.open(ctx, cfg, runs, j)
		if err != nil {
			return err
		}
		return errors.Join(f(ctx, source, j), source.Close())
	})
}

// errInterrupted stands for the end of a command's context.
var errInterrupted = errors.New("interrupted")

// open finds the log: the admin listener's that was named, the folder's, or
// where a process has that open, that process'. Where the log is to be run
// again, runs is true, and the folder's store is opened as well.
func (o *logOptions) open(ctx context.Context, cfg config.Config, runs bool, j *job) (logSource, error) {
	if o.admin != "" {
		return openNamed(ctx, o.admin)
	}
	source, err := openFolder(cfg, runs, j)
	switch {
	case err == nil:
		return source, nil
	case errors.Is(err, fs.ErrNotExist) && cfg.Data == config.DefaultConfig().Data:
		// No folder was named: so the receiver is meant that listens, if one does.
		if remote, err := openNamed(ctx, localURL("http", cfg.Admin)); err == nil {
			return remote, nil
		}
		fallthrough
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no log in %s: name the folder of the receiver with --data, or its admin listener with --admin", logConfig(cfg).Dir)
	case errors.Is(err, wal.ErrLocked):
		return o.openServer(ctx, cfg)
	}
	return nil, err
}

// openNamed finds out whether the receiver answers before it is asked to run its
// log again, which may take long.
func openNamed(ctx context.Context, address string) (logSource, error) {
	remote, err := newRemoteLog(address)
	if err != nil {
		return nil, err
	}
	if _, err := remote.Stat(ctx); err != nil {
		return nil, errors.Join(err, remote.Close())
	}
	return remote, nil
}

// openServer asks the receiver that has the folder open. Another one may
// listen where it is looked for.
func (o *logOptions) openServer(ctx context.Context, cfg config.Config) (logSource, error) {
	folder := logConfig(cfg).Dir
	remote, err := newRemoteLog(localURL("http", cfg.Admin))
	if err != nil {
		return nil, err
	}
	stat, err := remote.Stat(ctx)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s is in use by another process, and nothing listens at %s: name the admin listener of the receiver with --admin, or wait until the other command has ended",
			folder, remote.base.Host)
	case err != nil:
		return nil, err
	case realPath(stat.Folder) != realPath(folder):
		return nil, fmt.Errorf("%s is in use by another process, and the receiver at %s has %s open: name the admin listener of the right one with --admin",
			folder, remote.base.Host, stat.Folder)
	}
	return remote, nil
}

// realPath names a folder by its place alone, as far as that is known.
func realPath(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	return path
}

// openFolder opens the log of a receiver that does not run. What is only read
// is not changed.
func openFolder(cfg config.Config, runs bool, j *job) (*localLog, error) {
	folder := logConfig(cfg).Dir
	if _, err := os.Stat(folder); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if runs {
		if err := checkNote(cfg, cfg.Data); err != nil {
			return nil, err
		}
		parts, err := openParts(logConfig(cfg), cfg, j)
		if err != nil {
			return nil, err
		}
		replayer, err := dispatch.NewReplayer(dispatch.ReplayConfig{Window: parts.store.Window()}, parts.log, parts.store)
		if err != nil {
			return nil, errors.Join(err, parts.Close())
		}
		return &localLog{log: parts.log, folder: realPath(folder), replayer: replayer, close: parts.Close}, nil
	}
	readConfig := logConfig(cfg)
	readConfig.OnFatal = j.diskFailed
	log, err := wal.OpenReadOnly(readConfig, j.logger())
	if err != nil {
		return nil, err
	}
	return &localLog{log: log, folder: realPath(folder), close: log.Close}, nil
}

// logParts are a log and the store it is dispatched to, as serve has them.
type logParts struct {
	log   *wal.Log
	store eventStore
}

// openParts opens both. The log has to exist. Nothing is deleted for its age or
// for want of room: that is for serve, which knows all settings.
func openParts(logConfig wal.Config, cfg config.Config, j *job) (*logParts, error) {
	probe, err := wal.OpenReadOnly(logConfig, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), checkOwner(logConfig.Dir)); err != nil {
		return nil, err
	}
	// The most that a config allows.
	const longest, most = 87600 * time.Hour, 1 << 50
	logConfig.Retain, logConfig.DeadRetain = longest, longest
	logConfig.MaxBytes, logConfig.MinFree = most, 0
	logConfig.OnFatal = j.diskFailed
	p := &logParts{}
	if p.log, err = wal.Open(logConfig, j.logger(), nil); err != nil {
		return nil, err
	}
	p.store, err = openStore(context.Background(), cfg, storeOptions{keepAll: true, onFatal: j.diskFailed}, j.logger(), nil)
	if err != nil {
		return nil, errors.Join(storeError(err, storeName(cfg)), p.log.Close())
	}
	return p, nil
}

// storeError says what to do where another process has the store open.
func storeError(err error, folder string) error {
	if errors.Is(err, syscall.EAGAIN) {
		return fmt.Errorf("the store in %s is in use by a running receiver: stop it, run this again, and start it", folder)
	}
	return err
}

// Close closes the log first: what it has released is in the store.
func (p *logParts) Close() error { return errors.Join(p.log.Close(), p.store.Close()) }

// rangeFlags say which records are meant.
type rangeFlags struct {
	lanes    []string
	from, to uint64
	since    string
}

func (f *rangeFlags) addLane(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.lanes, "lane", nil, "the `lane`: express or bulk; without it, both")
}

func (f *rangeFlags) add(cmd *cobra.Command) {
	f.addLane(cmd)
	flags := cmd.Flags()
	flags.Uint64Var(&f.from, "from", 0, "the first `sequence`, with --lane; without it, the first one kept")
	flags.Uint64Var(&f.to, "to", 0, "the last `sequence`, with --lane; without it, the last one")
	flags.StringVar(&f.since, "since", "", "leave out what came before a `time`: 2h ago, or 2026-01-31T15:04:05Z")
}

// query checks the flags.
func (f *rangeFlags) query(cmd *cobra.Command) (q recordQuery, err error) {
	if q.Lanes, err = parseLanes(f.lanes); err != nil {
		return q, usageError("--%w", err)
	}
	for _, name := range []string{queryFrom, queryTo} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		if len(q.Lanes) > 1 {
			return q, usageError("--%s names a record of one lane: add --lane express or --lane bulk", name)
		}
		if flag.Value.String() == "0" {
			return q, usageError("--%s 0 is not allowed; allowed: 1 and more", name)
		}
	}
	if f.to > 0 && f.from > f.to {
		return q, usageError("--from %d is after --to %d", f.from, f.to)
	}
	q.From, q.To = f.from, f.to
	if f.since != "" {
		if q.Since, err = parseSince(f.since, time.Now()); err != nil {
			return q, usageError("--%w", err)
		}
	}
	return q, nil
}
