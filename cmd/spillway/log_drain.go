package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/dispatch"
	"spillway/wal"
)

// drainLook is how often it is looked whether a log is drained.
const drainLook = 50 * time.Millisecond

// drainOptions are what `log drain` was told.
type drainOptions struct {
	data, configFile, failoverDir string
}

func newLogDrainCommand() *cobra.Command {
	var o drainOptions
	cmd := &cobra.Command{
		Use:   "drain --data DIR",
		Short: "Dispatch the log of a receiver that died for good",
		Long: `Drain applies what a receiver has left in DIR/log to the configured store, until all
of it is there, and ends. Without --config that is DIR's own store, so that a
receiver that starts on DIR finds nothing left to do. With --config it is the
store of that receiver, which must not run meanwhile; it gets what DIR's receiver
had not dispatched, and what it had within redis.refill, with the same uids.

It prints one JSON line: how many records were not known to be dispatched, by
lane, and the events by outcome. It may be interrupted and run again.`,
		Example: `  spillway log drain --data /mnt/old/spillway
  spillway log drain --data /mnt/old/spillway --config spillway.yaml
  spillway log drain --data /mnt/old/spillway --failover-dir /mnt/second/spillway`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.data == "" {
				return usageError("--data DIR must be given: the folder of the receiver that died; see %s --help", cmd.CommandPath())
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends it at once
			j := newJob(cmd.ErrOrStderr())
			return j.run(func() error { return o.run(ctx, j, cmd.OutOrStdout()) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.data, "data", "", "the `folder` of the receiver that died")
	flags.StringVar(&o.configFile, "config", "", "the config `file` of the receiver whose store gets the events")
	flags.StringVar(&o.failoverDir, "failover-dir", "", "the log.failover_dir of the receiver that died, a `folder`, where it is now")
	return cmd
}

// configs gives the config that dispatching goes by, with its store, and where the
// log is.
func (o *drainOptions) configs() (cfg config.Config, log wal.Config, err error) {
	options := config.Options{File: o.configFile, Environ: os.Environ(), WithoutSecrets: true}
	if o.configFile == "" {
		options.Flags = map[string]string{"data": o.data}
	}
	if cfg, err = config.Load(options); err != nil {
		return cfg, log, err
	}
	log = logConfig(cfg)
	if realPath(cfg.Data) != realPath(o.data) {
		log.Dir, log.FailoverDir = filepath.Join(o.data, "log"), ""
	}
	if o.failoverDir != "" {
		log.FailoverDir = o.failoverDir
		if _, err := os.Stat(filepath.Join(o.failoverDir, wal.FailoverOwner)); err != nil {
			return cfg, log, fmt.Errorf("--failover-dir %s is no folder that was a log.failover_dir: %w", o.failoverDir, err)
		}
	}
	return cfg, log, nil
}

// drained is what `log drain` did.
type drained struct {
	Log   string `json:"log"`
	Store string `json:"store"`
	// Records that were not released, by lane.
	Records map[string]uint64 `json:"records"`
	// Events by outcome.
	Events map[string]int64 `json:"events"`
}

func (o *drainOptions) run(ctx context.Context, j *job, out io.Writer) error {
	cfg, logConfig, err := o.configs()
	if err != nil {
		return err
	}
	if err := checkNote(cfg, o.data); err != nil {
		return err
	}
	parts, err := openParts(logConfig, cfg, j)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no log in %s: --data is the folder of the receiver that died", logConfig.Dir)
	case errors.Is(err, wal.ErrLocked):
		return fmt.Errorf("the log in %s is in use by a running process: only that of a receiver that has ended can be drained, and a running one dispatches by itself", logConfig.Dir)
	case err != nil:
		return err
	}
	result := drained{Log: logConfig.Dir, Store: storeName(cfg)}
	err = drain(ctx, parts, cfg, o.data, j, &result)
	if err = errors.Join(err, parts.Close()); err != nil {
		return err
	}
	return printJSON(out, result)
}

// drain dispatches until nothing is behind.
func drain(ctx context.Context, parts *logParts, cfg config.Config, data string, j *job, result *drained) error {
	registry := prometheus.NewRegistry()
	dispatchConfig := dispatch.DefaultConfig()
	dispatchConfig.Dir, dispatchConfig.Refill = data, cfg.Redis.Refill
	dispatcher, err := dispatch.New(dispatchConfig, parts.log, parts.store, j.logger(), registry)
	if err != nil {
		return err
	}
	result.Records = map[string]uint64{}
	for _, lane := range wal.Lanes {
		result.Records[lane.String()] = parts.log.Head(lane) - parts.log.Released(lane)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- dispatcher.Run(running) }()
	err = watchDrain(ctx, dispatcher, ended, j)
	stop()
	if err == nil {
		err = <-ended
	}
	if err != nil {
		return err
	}
	result.Events, err = eventCounts(registry)
	return err
}

// watchDrain waits until nothing is behind.
func watchDrain(ctx context.Context, dispatcher *dispatch.Dispatcher, ended chan error, j *job) error {
	ticker := time.NewTicker(drainLook)
	defer ticker.Stop()
	for {
		left := uint64(0)
		for _, records := range dispatcher.Behind() {
			left += records
		}
		if left == 0 {
			return nil
		}
		j.progress("%d records left", left)
		select {
		case <-ctx.Done():
			<-ended
			return fmt.Errorf("%w: %d records are left, run it again", errInterrupted, left)
		case err := <-ended:
			if err == nil {
				err = errInterrupted
			}
			return err
		case <-ticker.C:
		}
	}
}

// eventCounts sums the events by outcome.
func eventCounts(gatherer prometheus.Gatherer) (map[string]int64, error) {
	families, err := gatherer.Gather()
	if err != nil {
		return nil, fmt.Errorf("count events: %w", err)
	}
	counts := map[string]int64{}
	for _, family := range families {
		if family.GetName() != "spillway_events_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "outcome" {
					counts[label.GetValue()] += int64(metric.GetCounter().GetValue())
				}
			}
		}
	}
	return counts, nil
}
