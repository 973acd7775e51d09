// Command peers measures Spillway beside what people use in its place, runs
// Spillway's own campaigns, and writes what came of both as a page.
//
//	peers in turn ──▶ ack.Run    rates, latencies, processor, memory
//	each alone    ──▶ loss       what it acked and lost by kill -9
//	spillway bench campaign      verdicts
//	                  ──▶ results ──▶ RESULTS.md
package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"spillway/bench/ack"
	"spillway/bench/peers/broadcaster"
	"spillway/bench/peers/contest"
	"spillway/bench/peers/peer"
	"spillway/bench/peers/receiver"
	"spillway/bench/peers/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		stop()
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	o := defaultOptions()
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Measure Spillway beside what people use in its place",
		Long: `Peers starts Spillway and what people use in its place, each with its server, as
processes of their own, and measures all of them in alternating rounds with one
generator on one disk. Then it kills each with -9 under load, starts it again, and
counts what was acked and is lost. Then it runs Spillway's campaigns, and last it
measures the stream, alone and beside a server on the centrifuge library. What came of
it is written as a page of Markdown.

A peer whose server is not installed is left out, and the page says so. All of it
takes some 25 minutes, and some gigabytes of disk for that time.`,
		Example: `  peers --spillway bin/spillway --out bench/RESULTS.md
  peers --rounds 1 --duration 500ms --campaigns ""`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd.Flags())
	cmd.AddCommand(newReceiverCommand(), newNATSCommand(), newBroadcasterCommand())
	return cmd
}

// untilInputEnds ends with standard input, which is how one that was launched is
// told to end. An interrupt of the terminal is for the one that launched it.
func untilInputEnds(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	signal.Ignore(os.Interrupt)
	ctx, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, cmd.InOrStdin())
	}()
	return ctx, stop
}

func announce(out io.Writer) func(ack.Addresses) {
	return func(a ack.Addresses) { _ = json.NewEncoder(out).Encode(a) }
}

func newReceiverCommand() *cobra.Command {
	var cfg receiver.Config
	cmd := &cobra.Command{
		Use: peer.ReceiverCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Be a receiver that is measured, until standard input ends",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInputEnds(cmd)
			defer stop()
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			return receiver.Run(ctx, cfg, logger, announce(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&cfg.Kind, "kind", "", "what keeps the webhooks")
	cmd.Flags().StringVar(&cfg.Data, "data", "", "the `folder` for its data")
	cmd.Flags().StringVar(&cfg.Server, "server", "", "the `address` of its server")
	cmd.Flags().IntVar(&cfg.Streams, "streams", 0, "the `number` of NATS streams")
	return cmd
}

func newNATSCommand() *cobra.Command {
	var data string
	var always bool
	cmd := &cobra.Command{
		Use: peer.NATSCommand, Hidden: true, Args: cobra.NoArgs,
		Short: "Be a NATS server with JetStream, until standard input ends",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInputEnds(cmd)
			defer stop()
			return server.RunNATS(ctx, data, always, announce(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "the `folder` for its data")
	cmd.Flags().BoolVar(&always, "always", false, "sync each message before its acknowledgement")
	return cmd
}

func newBroadcasterCommand() *cobra.Command {
	var cfg broadcaster.Config
	cmd := &cobra.Command{
		Use: contest.Command, Hidden: true, Args: cobra.NoArgs,
		Short: "Be a server on the centrifuge library that is measured, until standard input ends",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInputEnds(cmd)
			defer stop()
			return broadcaster.Run(ctx, cfg, announce(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().BoolVar(&cfg.Recovery, "recovery", false, "keep a history, and the position of each socket in it")
	cmd.Flags().IntVar(&cfg.Gathered, "gathered", 0, "the `number` of events in one message at most")
	cmd.Flags().DurationVar(&cfg.WriteDelay, "write-delay", 0, "the `time` that events are gathered for a socket")
	return cmd
}
