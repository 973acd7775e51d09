package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spillway/bench/fanout"
	"spillway/bench/subscribers"
	"spillway/dispatch/stream"
)

// benchStreamOptions are what `bench stream` was told.
type benchStreamOptions struct {
	config fanout.Config

	url, admin, appSecret, jwtSecret, data string
	redis                                  []string
	dir                                    string
	json                                   bool
}

func newBenchStreamCommand() *cobra.Command {
	o := benchStreamOptions{config: fanout.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "Measure how events go out to thousands of WebSockets",
		Long: `Stream opens WebSockets from this process, posts webhooks of one status each, and
holds what comes at every socket against what was acked. Its phases:

  idle       the memory of the receiver for each of --sockets sockets
  reference  --subscribers sockets and --rate events a second for --duration: the
             time from the begin of a post until a subscriber has the event
  edge       the highest rate at --sockets sockets that is sustained: all events at
             all of them, none closed, p99 within a second; held for --step, doubled
             until it is not sustained, then narrowed down to a tenth
  stuck      --among sockets and --stuck-rate events a second for --duration, with 0, 1
             and 10 more sockets that are never read: the p99 of the others

Without --url it starts a receiver of its own in a temporary folder, with --redis
over the Redis at these addresses, under a prefix that is removed afterwards. With
--url it runs against any receiver, and leaves there the statuses of made-up
messages; what that one uses is told where --admin is given. Secrets that are not
given are those of SPILLWAY_APP_SECRET and SPILLWAY_JWT_SECRET, or of DATA/dev.env.

Each process needs an open file for each socket. The exit code is 1 where a goal was
missed: 20 KiB a socket, a p99 of 50 ms in reference, and no event lost or doubled.`,
		Example: `  spillway bench stream
  spillway bench stream --phases idle,edge --sockets 5000 --json > stream.json
  spillway bench stream --phases reference --subscribers 500 --rate 1000 --redis 127.0.0.1:6379
  spillway bench stream --url http://127.0.0.1:8080 --admin 127.0.0.1:9090`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd)
		},
	}
	flags, c := cmd.Flags(), &o.config
	flags.StringSliceVar(&c.Phases, "phases", c.Phases, "the `phases` to run")
	flags.IntVar(&c.Sockets, "sockets", c.Sockets, "the `number` of sockets in idle and edge")
	flags.IntVar(&c.Among, "among", c.Among, "the `number` of sockets in stuck, besides those that are not read")
	flags.IntVar(&c.Few, "subscribers", c.Few, "the `number` of sockets in reference")
	flags.IntVar(&c.Rate, "rate", c.Rate, "the `events` a second in reference")
	flags.DurationVar(&c.Duration, "duration", c.Duration, "the `time` that reference, and each rate of stuck, is held")
	flags.DurationVar(&c.Step, "step", c.Step, "the `time` that each rate of edge is held")
	flags.IntVar(&c.First, "first-rate", c.First, "the `events` a second that edge begins with (default: 50,000 frames a second)")
	flags.IntVar(&c.StuckRate, "stuck-rate", c.StuckRate, "the `events` a second in stuck")
	flags.IntVar(&c.Body, "body", c.Body, "the size of a webhook, in `bytes`")
	flags.IntVar(&c.Connections, "connections", c.Connections, "the `number` of connections that webhooks are posted over")
	flags.StringVar(&o.url, "url", "", "the callback `URL` of a receiver that runs")
	flags.StringVar(&o.admin, "admin", "", "the private `address` of the receiver of --url, for its memory and processor time")
	flags.StringVar(&o.appSecret, "app-secret", "", "the app `secret` to sign with")
	flags.StringVar(&o.jwtSecret, "jwt-secret", "", "the `secret` to mint a token for subscribing with")
	flags.StringSliceVar(&o.redis, "redis", nil, "have a receiver of its own use the Redis at these `addresses`")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "the `folder` to make the data folder in")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	addDataFlag(cmd, &o.data)
	return cmd
}

func (o *benchStreamOptions) validate() error {
	if err := o.config.Validate(); err != nil {
		return usageError("%w", err)
	}
	switch {
	case o.url == "" && o.appSecret+o.jwtSecret+o.admin != "":
		return usageError("--app-secret, --jwt-secret and --admin are for the receiver of --url; one of its own has its own")
	case o.url != "" && len(o.redis) > 0:
		return usageError("--redis is for a receiver of its own, not for that of --url")
	}
	return nil
}

func (o *benchStreamOptions) run(ctx context.Context, cmd *cobra.Command) error {
	if err := subscribers.RaiseFiles(o.config.Most()); err != nil {
		return fmt.Errorf("bench stream: %w", err)
	}
	job := newJob(cmd.ErrOrStderr())
	target, closeTarget, err := o.target(ctx, job)
	if err != nil {
		return err
	}
	result, err := fanout.Run(ctx, o.config, target, job.note)
	err = errors.Join(err, closeTarget())
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return fmt.Errorf("bench stream: %w", err)
	}
	result.Receiver, result.Version = o.receiverName(), currentBuild().Version
	if err := o.print(cmd.OutOrStdout(), result); err != nil {
		return err
	}
	if !result.Verdict.Passed {
		return errDidNotHold
	}
	return nil
}

func (o *benchStreamOptions) receiverName() string {
	switch {
	case o.url != "":
		return o.url
	case len(o.redis) > 0:
		return ownReceiver + ", Redis"
	}
	return ownReceiver
}

func (o *benchStreamOptions) print(out io.Writer, result *fanout.Result) error {
	if o.json {
		return printJSON(out, result)
	}
	return result.Text(out)
}

// streamPosition begins the message that tells that a socket is level.
var streamPosition = []byte(`{"type":"stream:position"`)

// subscribe says how sockets of Spillway are opened.
func subscribe(address, secret string) (subscribers.Options, error) {
	token, err := mintToken(secret, time.Now(), tailTokenTTL, stream.Claims{})
	return subscribers.Options{
		Address: address, Path: "/ws?token=" + token,
		Ready: func(message []byte) bool { return bytes.HasPrefix(message, streamPosition) },
	}, err
}

// firstSecret is the one that webhooks are signed with, of several.
func firstSecret(secrets string) string {
	first, _, _ := strings.Cut(secrets, ",")
	return first
}
