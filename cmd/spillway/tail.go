package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spillway/dispatch/stream"
	"spillway/dispatch/stream/client"
)

// tailTokenTTL is how long a token that tail mints for itself is good for.
const tailTokenTTL = 7 * 24 * time.Hour

// tailOptions are what `tail` was told.
type tailOptions struct {
	url, token, since, data string
	events, phoneNumberIDs  []string
	count                   int
}

func newTailCommand() *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come",
		Long: `Tail listens on the WebSocket and prints one event a line. It reconnects by itself
and goes on where it was, until it is interrupted. What it does about its
connection it says on standard error.

Without --token it mints one, with SPILLWAY_JWT_SECRET or DATA/dev.env. Without
--since it starts with the next event.`,
		Example: `  spillway tail
  spillway tail --since 0 --events message:new,contact:new
  spillway tail --url wss://example.com/ws --token "$TOKEN" | jq .payload.content
  spillway tail --since 0 --count 1`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", localURL("ws", defaultListen()), "the `URL` of the WebSocket")
	flags.StringVar(&o.token, "token", "", "the `token` to show, see spillway token")
	flags.StringVar(&o.since, "since", "", "the `id` of an event to go on after; 0 for the oldest kept")
	flags.StringSliceVar(&o.events, "events", nil, "event `types` to print, such as message:new or webhook:*")
	flags.StringSliceVar(&o.phoneNumberIDs, "phone-number-id", nil, "phone number `ids` to print events of")
	flags.IntVar(&o.count, "count", 0, "end after that many `events`; 0 for never")
	addDataFlag(cmd, &o.data)
	return cmd
}

// errEnough ends the stream when --count is reached.
var errEnough = errors.New("enough events")

func (o *tailOptions) run(ctx context.Context, stdout, stderr io.Writer) error {
	if o.count < 0 {
		return usageError("--count %d is not allowed; allowed: 0 and more", o.count)
	}
	if err := checkTypes(o.events); err != nil {
		return err
	}
	target, err := o.target()
	if err != nil {
		return err
	}
	if o.token == "" {
		if o.token, err = o.mint(); err != nil {
			return err
		}
	}
	printed := 0
	err = client.Tail(ctx, client.Options{
		URL:           target,
		Token:         o.token,
		Since:         o.since,
		Events:        strings.Join(o.events, ","),
		PhoneNumberID: strings.Join(o.phoneNumberIDs, ","),
		OnState:       func(s client.State) { printState(stderr, s) },
	}, func(event client.Event) error {
		if err := printJSON(stdout, event); err != nil {
			return err
		}
		if printed++; printed == o.count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// target takes the URL of the socket, or of the web server it belongs to.
func (o *tailOptions) target() (string, error) {
	family := "ws"
	if strings.HasPrefix(o.url, "http") {
		family = "http"
	}
	u, err := baseURL(o.url, family, "/ws")
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

func (o *tailOptions) mint() (string, error) {
	secret, err := (&tokenOptions{data: o.data}).secret()
	if err != nil {
		return "", err
	}
	return mintToken(secret, time.Now(), tailTokenTTL, stream.Claims{})
}

func printState(stderr io.Writer, s client.State) {
	if s.Connected {
		fmt.Fprintln(stderr, "spillway: connected")
		return
	}
	fmt.Fprintf(stderr, "spillway: %v; trying again in %s\n", s.Err, s.RetryIn.Round(time.Millisecond))
}
