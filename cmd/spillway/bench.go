package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"spillway/bench/ack"
	"spillway/dispatch/store/redis/localredis"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Spillway on this machine",
		Long: `Bench starts receivers of its own on free loopback ports, with data in a folder
that is removed afterwards, and loads them from this process. A campaign runs
against any other receiver too.`,
		Example: `  spillway bench campaign --preset 1000mps
  spillway bench ack`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchAckCommand(), newBenchCampaignCommand(), newBenchStreamCommand(),
		newBenchReportCommand(), newBenchTargetCommand())
	return cmd
}

// benchAckOptions are what `bench ack` was told.
type benchAckOptions struct {
	config ack.Config
	redis  bool
	dir    string
	json   bool
}

func newBenchAckCommand() *cobra.Command {
	o := benchAckOptions{config: ack.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "ack",
		Short: "Measure what an acknowledgement costs",
		Long: `Ack measures, in alternating rounds and with one generator, four receivers:

  ceiling  the listener with its check of signatures, and no log
  file     the listener, and one plain file: grouped writes, one fdatasync a group
  paused   Spillway without dispatching
  serve    Spillway

and with --redis three more, each with a redis-server that it starts:

  redis         Spillway with its events in Redis: appendonly yes, appendfsync everysec
  xadd          the listener, and one XADD a webhook before the ack: appendfsync always
  xadd-grouped  the same with all that wait in one transaction

It prints their rates, latencies, processor time, and ratios as medians of the
rounds with the least and the largest. All of it takes about half an hour, with
--redis three quarters, and some gigabytes of disk for that time.`,
		Example: `  spillway bench ack
  spillway bench ack --body 600 --connections 64,512 --rounds 3
  spillway bench ack --redis --kinds ceiling,redis,xadd --body 600
  spillway bench ack --json > ack.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.addRedis()
			if err := o.config.Validate(); err != nil {
				return usageError("%w", err)
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.redis, "redis", false, "measure redis, xadd and xadd-grouped as well")
	flags.StringSliceVar(&o.config.Kinds, "kinds", o.config.Kinds, "the `receivers` to measure")
	flags.IntSliceVar(&o.config.Bodies, "body", o.config.Bodies, "sizes of the webhooks, in `bytes`")
	flags.IntSliceVar(&o.config.Connections, "connections", o.config.Connections, "`numbers` of connections")
	flags.IntVar(&o.config.Rounds, "rounds", o.config.Rounds, "the `number` of rounds")
	flags.DurationVar(&o.config.Duration, "duration", o.config.Duration, "the `time` each receiver is measured in a round")
	flags.DurationVar(&o.config.Prime, "prime", o.config.Prime, "the `time` each receiver is loaded before the rounds")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "the `folder` to make the data folders in: on the disk to be measured")
	flags.BoolVar(&o.json, "json", false, "print every sample as JSON")
	return cmd
}

// addRedis adds the receivers that --redis stands for where they are not named.
func (o *benchAckOptions) addRedis() {
	for _, kind := range ack.Kinds {
		if o.redis && ack.NeedsRedis(kind) && !slices.Contains(o.config.Kinds, kind) {
			o.config.Kinds = append(o.config.Kinds, kind)
		}
	}
}

func (o *benchAckOptions) run(ctx context.Context, stdout, stderr io.Writer) error {
	if slices.ContainsFunc(o.config.Kinds, ack.NeedsRedis) {
		if _, err := localredis.Find(); err != nil {
			return fmt.Errorf("bench ack: %w", err)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "spillway-bench-")
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	defer os.RemoveAll(dir)
	o.config.Dir, o.config.Secret = dir, ack.Secret
	start := func(kind string) (*ack.Target, error) {
		return startTarget(ctx, kind, filepath.Join(dir, kind), stderr)
	}
	began := time.Now()
	report, err := ack.Run(ctx, o.config, start, stderr)
	if err != nil {
		return fmt.Errorf("bench ack: %w", err)
	}
	fmt.Fprintf(stderr, "took %s\n", time.Since(began).Round(time.Second))
	if o.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	return report.Text(stdout)
}
