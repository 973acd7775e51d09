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
	output                  string
	forward                 string
	forwardTimeout          time.Duration
	forwardAttempts         int
}

func newTailCommand() *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come, and pass them to a program",
		Long: `Tail listens on the WebSocket and prints one event a line: on a terminal a short
one to read, shortened and with what a terminal would obey made visible;
elsewhere the whole event as JSON. NO_COLOR and TERM=dumb turn colours off. It
reconnects by itself and goes on where it was, until it is interrupted. What it
does about its connection it says on standard error.

Without --token it mints one, with SPILLWAY_JWT_SECRET or DATA/dev.env. Without
--since it starts with the next event.

--forward posts each event as JSON to a program of yours, one at a time and in
order. An event is posted again, with growing pauses of 2 s at most, until the
answer is 2xx: restart the program, or mend what answers 400 or 500, and the
event comes again; none is lost. --forward-attempts goes on to the next event
after so many other answers; a program that is down costs none. An answer that
comes too late, or was lost, is posted again as well: the uid tells. When tail
ends it says where to go on, with --since. Events hold personal data: http is
for this machine alone (3000 is http://localhost:3000), all else needs https.`,
		Example: `  spillway tail
  spillway tail --since 0 --events message:new,contact:new
  spillway tail --url wss://example.com/ws --token "$TOKEN" | jq .payload.content
  spillway tail --since 0 --count 1 --output json
  spillway tail --forward 3000/webhook`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *tailOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.url, "url", localURL("ws", defaultListen()), "the `URL` of the WebSocket")
	flags.StringVar(&o.token, "token", "", "the `token` to show, see spillway token")
	flags.StringVar(&o.since, "since", "", "the `id` of an event to go on after; 0 for the oldest kept")
	flags.StringSliceVar(&o.events, "events", nil, "event `types` to print, such as message:new or webhook:*")
	flags.StringSliceVar(&o.phoneNumberIDs, "phone-number-id", nil, "phone number `ids` to print events of")
	flags.IntVar(&o.count, "count", 0, "end after that many `events`; 0 for never")
	flags.StringVar(&o.output, "output", outputAuto, "the `format`: auto, text or json; auto is text on a terminal")
	flags.StringVar(&o.forward, "forward", "", "the `URL` of a program to post each event to")
	flags.DurationVar(&o.forwardTimeout, "forward-timeout", 30*time.Second, "how long that program may take to answer")
	flags.IntVar(&o.forwardAttempts, "forward-attempts", 0, "give an event up after that many `answers` other than 2xx; 0 for never")
	addDataFlag(cmd, &o.data)
}

// errEnough ends the stream when --count is reached.
var errEnough = errors.New("enough events")

func (o *tailOptions) run(ctx context.Context, stdout, stderr io.Writer) error {
	target, err := o.check()
	if err != nil {
		return err
	}
	printEvent, err := eventPrinter(o.output, stdout)
	if err != nil {
		return err
	}
	var forward *forwarder
	if o.forward != "" {
		if forward, err = newForwarder(o, stderr); err != nil {
			return err
		}
		defer forward.close()
	}
	if o.token == "" {
		if o.token, err = o.mint(); err != nil {
			return err
		}
	}
	handled := 0
	err = client.Tail(ctx, o.clientOptions(target, stderr), func(event client.Event) error {
		if err := printEvent(event); err != nil {
			return err
		}
		if forward != nil {
			if err := forward.deliver(ctx, event); err != nil {
				return err
			}
		}
		o.since = event.ID
		if handled++; handled == o.count {
			return errEnough
		}
		return nil
	})
	// Lines to read do not show ids.
	if o.since != "" && (forward != nil || handled > 0 && outputOf(o.output, stdout) == outputText) {
		fmt.Fprintf(stderr, "spillway: to go on from here: --since %s\n", clean(o.since, errorLength))
	}
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// check finds mistakes in the options, and gives the URL to dial.
func (o *tailOptions) check() (target string, err error) {
	switch {
	case o.count < 0:
		return "", usageError("--count %d is not allowed; allowed: 0 and more", o.count)
	case o.forwardAttempts < 0:
		return "", usageError("--forward-attempts %d is not allowed; allowed: 0 and more", o.forwardAttempts)
	case o.forward != "" && o.forwardTimeout <= 0:
		return "", usageError("--forward-timeout %s is not allowed; allowed: above 0", o.forwardTimeout)
	}
	if err := checkTypes(o.events); err != nil {
		return "", err
	}
	return o.target()
}

// clientOptions are what to read. A position counts as an event that was handled:
// none before it is outstanding.
func (o *tailOptions) clientOptions(target string, stderr io.Writer) client.Options {
	return client.Options{
		URL:           target,
		Token:         o.token,
		Since:         o.since,
		Events:        strings.Join(o.events, ","),
		PhoneNumberID: strings.Join(o.phoneNumberIDs, ","),
		OnPosition:    func(id string) { o.since = id },
		OnState:       func(s client.State) { printState(stderr, s) },
	}
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

// errorLength is how many characters of an error or an answer are shown.
const errorLength = 200

func printState(stderr io.Writer, s client.State) {
	if s.Connected {
		fmt.Fprintln(stderr, "spillway: connected")
		return
	}
	fmt.Fprintf(stderr, "spillway: %s; trying again in %s\n", clean(s.Err.Error(), errorLength), briefly(s.RetryIn))
}
