package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"spillway/bench/fanout"
	"spillway/bench/machine"
	"spillway/bench/peers/contest"
	"spillway/bench/peers/peer"
	"spillway/bench/peers/results"
	"spillway/bench/subscribers"
)

// streamOptions are what it was told of the stream.
type streamOptions struct {
	contest contest.Config
	// phases are of spillway bench stream, args what else that gets.
	args []string
	// run is whether the stream is measured, only whether nothing else is.
	run, only bool
}

func defaultStreamOptions() streamOptions {
	return streamOptions{
		contest: contest.DefaultConfig(), run: true,
		args: []string{"--duration=15s", "--step=5s"},
	}
}

func (o *streamOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.run, "stream", o.run, "measure the stream")
	flags.BoolVar(&o.only, "only-stream", o.only, "measure nothing but the stream, and replace its section in --out alone")
	flags.StringSliceVar(&o.args, "stream-bench", o.args, "the `arguments` of spillway bench stream")
	c := &o.contest
	flags.IntSliceVar(&c.Sockets, "stream-sockets", c.Sockets, "`numbers` of sockets to measure the stream's peers with")
	flags.IntVar(&c.Frames, "stream-frames", c.Frames, "the `frames` a second at which the stream's peers are compared, over all sockets")
	flags.IntVar(&c.Rounds, "stream-rounds", c.Rounds, "the `number` of rounds of the stream's peers")
	flags.DurationVar(&c.Duration, "stream-duration", c.Duration, "the `time` that --stream-frames is held")
	flags.DurationVar(&c.Step, "stream-step", c.Step, "the `time` that each rate is held in the search for the edge; 0 for no search")
}

func (o *streamOptions) validate() error {
	if o.only && !o.run {
		return errors.New("--only-stream measures the stream, and --stream=false does not")
	}
	return o.contest.Validate()
}

// streamOnly measures the stream, and puts its section in the place of the one that
// is in the file.
func (o *options) streamOnly(ctx context.Context, stdout, stderr io.Writer) error {
	section, err := o.measureStream(ctx, stderr)
	if err != nil {
		return err
	}
	if o.out == "-" {
		return section.Markdown(stdout)
	}
	page, err := os.ReadFile(o.out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read results: %w", err)
	}
	if err := os.WriteFile(o.out, section.In(page), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// measureStream runs spillway bench stream, and then its peers.
func (o *options) measureStream(ctx context.Context, stderr io.Writer) (*results.Stream, error) {
	began := time.Now()
	section := &results.Stream{Machine: machine.This(), Began: began, Command: commandLine()}
	programs, err := o.programs(stderr)
	if err != nil {
		return nil, err
	}
	if section.Versions, err = o.streamVersions(ctx); err != nil {
		return nil, err
	}
	if section.Bench, err = o.benchStream(ctx, stderr); err != nil {
		return nil, fmt.Errorf("bench stream: %w", err)
	}
	if section.Contest, err = o.runContest(ctx, programs, stderr); err != nil {
		return nil, err
	}
	kept, err := json.Marshal(section.Contest)
	if err == nil {
		err = o.keepJSON("stream-peers", kept)
	}
	section.Took = time.Since(began)
	return section, err
}

// benchStream gives the result, whatever its verdict.
func (o *options) benchStream(ctx context.Context, stderr io.Writer) (*fanout.Result, error) {
	fmt.Fprintln(stderr, "spillway bench stream")
	args := append([]string{"bench", "stream", "--json", "--dir", o.config.Dir, "--data", o.config.Dir}, o.stream.args...)
	out, err := o.runSpillway(ctx, args, stderr)
	if err != nil {
		return nil, err
	}
	var result fanout.Result
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil {
		return nil, err
	}
	return &result, o.keepJSON("stream", out)
}

func (o *options) runContest(ctx context.Context, programs peer.Programs, stderr io.Writer) (result *contest.Result, err error) {
	cfg := o.stream.contest
	if err := subscribers.RaiseFiles(slices.Max(cfg.Sockets)); err != nil {
		return nil, err
	}
	servers, stop, err := contest.Start(ctx, cfg, programs, filepath.Join(o.config.Dir, "stream"))
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return nil, err
	}
	note := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	return contest.Run(ctx, cfg, servers, note)
}
