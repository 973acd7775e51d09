package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"spillway/bench/ack"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Spillway on this machine",
		Long: `Bench starts receivers of its own on free loopback ports, with data in a folder
that is removed afterwards, and loads them from this process.`,
		Example: "  spillway bench ack",
		Args:    refuseUnknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchAckCommand(), newBenchTargetCommand())
	return cmd
}

// benchAckOptions are what `bench ack` was told.
type benchAckOptions struct {
	config ack.Config
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

and prints their rates, latencies, processor time, and ratios as medians of the
rounds with the least and the largest. All of it takes about half an hour, and some
gigabytes of disk for that time.`,
		Example: `  spillway bench ack
  spillway bench ack --body 600 --connections 64,512 --rounds 3
  spillway bench ack --json > ack.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.config.Validate(); err != nil {
				return usageError("%w", err)
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&o.config.Bodies, "body", o.config.Bodies, "sizes of the webhooks, in `bytes`")
	flags.IntSliceVar(&o.config.Connections, "connections", o.config.Connections, "`numbers` of connections")
	flags.IntVar(&o.config.Rounds, "rounds", o.config.Rounds, "the `number` of rounds")
	flags.DurationVar(&o.config.Duration, "duration", o.config.Duration, "the `time` each receiver is measured in a round")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "the `folder` to make the data folders in: on the disk to be measured")
	flags.BoolVar(&o.json, "json", false, "print every sample as JSON")
	return cmd
}

func (o *benchAckOptions) run(ctx context.Context, stdout, stderr io.Writer) error {
	dir, err := os.MkdirTemp(o.dir, "spillway-bench-")
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	defer os.RemoveAll(dir)
	o.config.Dir, o.config.Secret = dir, benchSecret
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
