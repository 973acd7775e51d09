package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"spillway/bench/ack"
	"spillway/bench/peers/loss"
	"spillway/bench/peers/peer"
	"spillway/bench/peers/results"
)

// options are what it was told.
type options struct {
	config    ack.Config
	body      int
	loss      loss.Config
	campaigns []string
	stream    streamOptions
	spillway  string
	dir       string
	keep      string
	out       string
}

func defaultOptions() *options {
	o := &options{
		config:    ack.DefaultConfig(),
		body:      600,
		loss:      loss.Config{Duration: 4 * time.Second},
		campaigns: []string{"small", "100k", "1000mps", "burst10x"},
		stream:    defaultStreamOptions(),
		spillway:  "bin/spillway",
		dir:       os.TempDir(),
		out:       "-",
	}
	o.config.Kinds, o.config.Allowed = peer.Names(), peer.Names()
	o.config.Connections = []int{64, 512}
	o.config.Prime = 2 * time.Second
	return o
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.config.Kinds, "kinds", o.config.Kinds, "the `receivers` to measure")
	flags.IntVar(&o.body, "body", o.body, "the size of the webhooks, in `bytes`")
	flags.IntSliceVar(&o.config.Connections, "connections", o.config.Connections, "`numbers` of connections")
	flags.IntVar(&o.config.Rounds, "rounds", o.config.Rounds, "the `number` of rounds")
	flags.DurationVar(&o.config.Duration, "duration", o.config.Duration, "the `time` each receiver is measured in a round")
	flags.DurationVar(&o.config.Prime, "prime", o.config.Prime, "the `time` each receiver is loaded before the rounds")
	flags.DurationVar(&o.loss.Duration, "kill-after", o.loss.Duration, "the `time` each receiver is loaded before it is killed")
	flags.StringSliceVar(&o.campaigns, "campaigns", o.campaigns, "the `presets` of campaigns to run; \"\" for none")
	o.stream.addFlags(flags)
	flags.StringVar(&o.spillway, "spillway", o.spillway, "the `program` spillway")
	flags.StringVar(&o.dir, "dir", o.dir, "the `folder` to make the data folders in: on the disk to be measured")
	flags.StringVar(&o.keep, "keep", o.keep, "a `folder` to keep the campaigns' JSON in, for spillway bench report")
	flags.StringVar(&o.out, "out", o.out, "the `file` to write; - for standard output")
}

// run measures, and writes the page once all is measured.
func (o *options) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	o.config.Bodies, o.loss.Body = []int{o.body}, o.body
	o.stream.contest.Body = o.body
	if err := errors.Join(o.config.Validate(), o.stream.validate()); err != nil {
		return err
	}
	o.loss.Connections = slices.Max(o.config.Connections)
	dir, err := o.makeFolder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.config.Dir, o.config.Secret = dir, ack.Secret
	if o.stream.only {
		return o.streamOnly(ctx, stdout, stderr)
	}
	began := time.Now()
	page, err := o.measure(ctx, stderr)
	if err != nil {
		return err
	}
	page.Began, page.Took = began, time.Since(began)
	return o.write(page, stdout)
}

// makeFolder makes the folder for all data, which others may pass through:
// PostgreSQL has a user of its own.
func (o *options) makeFolder() (string, error) {
	dir, err := os.MkdirTemp(o.dir, "spillway-peers-")
	if err != nil {
		return "", fmt.Errorf("make data folder: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

func (o *options) measure(ctx context.Context, stderr io.Writer) (*results.Page, error) {
	page := &results.Page{Body: o.body, LossConnections: o.loss.Connections, LossSeconds: o.loss.Duration.Seconds()}
	page.Command = commandLine()
	programs, err := o.programs(stderr)
	if err != nil {
		return nil, err
	}
	if page.Versions, err = o.versions(ctx); err != nil {
		return nil, err
	}
	page.Missing = o.leaveOut(stderr)
	start := func(name string) (*ack.Target, error) {
		r, err := o.start(ctx, programs, name)
		if err != nil {
			return nil, err
		}
		return r.Target(), nil
	}
	if page.Report, err = ack.Run(ctx, o.config, start, stderr); err != nil {
		return nil, err
	}
	if page.Losses, err = o.losses(ctx, programs, stderr); err != nil {
		return nil, err
	}
	if page.Campaigns, err = o.runCampaigns(ctx, stderr); err == nil && o.stream.run {
		page.Stream, err = o.measureStream(ctx, stderr)
	}
	return page, err
}

// commandLine is how this program was started.
func commandLine() string {
	return strings.Join(append([]string{filepath.Base(os.Args[0])}, quoted(os.Args[1:])...), " ")
}

func (o *options) programs(stderr io.Writer) (peer.Programs, error) {
	self, err := os.Executable()
	if err != nil {
		return peer.Programs{}, fmt.Errorf("find this program: %w", err)
	}
	if o.spillway, err = exec.LookPath(o.spillway); err != nil {
		return peer.Programs{}, fmt.Errorf("find spillway, which --spillway names: %w", err)
	}
	return peer.Programs{Self: self, Spillway: o.spillway, Stderr: stderr}, nil
}

// leaveOut drops the peers whose server is not installed.
func (o *options) leaveOut(stderr io.Writer) (missing []results.Missing) {
	o.config.Kinds = slices.DeleteFunc(slices.Clone(o.config.Kinds), func(name string) bool {
		p, _ := peer.ByName(name) // Validate has seen it
		err := p.Missing()
		if err != nil {
			fmt.Fprintf(stderr, "%s is left out: %v\n", name, err)
			missing = append(missing, results.Missing{Name: name, Why: err.Error()})
		}
		return err != nil
	})
	return missing
}

func (o *options) start(ctx context.Context, programs peer.Programs, name string) (*peer.Running, error) {
	p, _ := peer.ByName(name) // Validate has seen it
	return p.Start(ctx, programs, filepath.Join(o.config.Dir, name))
}

// losses kills each peer that keeps webhooks.
func (o *options) losses(ctx context.Context, programs peer.Programs, stderr io.Writer) (map[string]loss.Loss, error) {
	losses := map[string]loss.Loss{}
	for _, name := range o.config.Kinds {
		if p, _ := peer.ByName(name); !p.Keeps() {
			continue
		}
		r, err := o.start(ctx, programs, name)
		if err != nil {
			return nil, err
		}
		losses[name], err = loss.Measure(ctx, o.loss, r)
		if err = errors.Join(err, r.Stop()); err != nil {
			return nil, fmt.Errorf("kill %s: %w", name, err)
		}
		fmt.Fprintf(stderr, "%s: of %d acks %d are lost by kill -9\n", name, losses[name].Acked, losses[name].Lost)
	}
	return losses, nil
}

func (o *options) write(page *results.Page, stdout io.Writer) error {
	if o.out == "-" {
		return page.Markdown(stdout)
	}
	file, err := os.Create(o.out)
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return errors.Join(page.Markdown(file), file.Close())
}
