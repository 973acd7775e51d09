package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"spillway/dispatch/deliver"
)

func newDeliverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliver",
		Short: "Look at outgoing webhooks, pause them, send again what was given up",
		Long: `Deliver works on outgoing webhooks: what the endpoints of the config are told of
events. It asks the admin listener of a running receiver, and finds it as serve does:
SPILLWAY_ADMIN, else the file's admin, else the default.`,
		Example: `  spillway deliver list
  spillway deliver test crm
  spillway deliver dead list crm`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeliverListCommand(), newDeliverTestCommand(), newDeliverPauseCommand(), newDeliverResumeCommand(), newDeliverDeadCommand())
	return cmd
}

// deliverOptions are what all of `deliver` are told.
type deliverOptions struct {
	adminOptions
	json bool
}

func (o *deliverOptions) addJSON(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&o.json, "json", false, what)
}

// do runs f with the admin listener, until it is interrupted.
func (o *deliverOptions) do(cmd *cobra.Command, f func(context.Context, *remoteAdmin) error) error {
	address, err := o.address()
	if err != nil {
		return err
	}
	remote, err := newRemoteAdmin(address)
	if err != nil {
		return err
	}
	defer remote.Close()
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	if err := f(ctx, remote); ctx.Err() != nil {
		return errInterrupted
	} else if err != nil {
		return err
	}
	return nil
}

// namedEndpoint wants a name first among the arguments.
func namedEndpoint(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usageError("NAME of an endpoint must be given; see %s --help", cmd.CommandPath())
	case !endpointName.MatchString(args[0]):
		return usageError("NAME %q is not allowed; allowed: 1 to 64 letters, digits, - and _", args[0])
	}
	return nil
}

// oneEndpoint wants a name alone.
func oneEndpoint(cmd *cobra.Command, args []string) error {
	if err := namedEndpoint(cmd, args); err != nil {
		return err
	}
	return noArguments(cmd, args[1:])
}

func newDeliverListCommand() *cobra.Command {
	var o deliverOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show all endpoints, what waits for them and what was given up",
		Long: `List shows each endpoint of the config: whether it is delivered to or paused, and by
whom; whether its circuit breaker is open, since it fails; how many partitions the
receiver that is asked delivers, how many deliveries of these wait to be tried
again, since when the first does; and how many of all were given up and are kept.

Of several receivers each delivers some partitions: ask each with --admin, or look
at the metrics. State and dead deliveries are the same for all.`,
		Example: `  spillway deliver list
  spillway deliver list --json | jq 'select(.waiting > 0)'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd, func(ctx context.Context, remote *remoteAdmin) error {
				var list endpointList
				if err := remote.one(ctx, http.MethodGet, deliverPath, nil, &list); err != nil {
					return err
				}
				if !o.json {
					return printEndpoints(cmd.OutOrStdout(), list.Endpoints, time.Now())
				}
				for _, status := range list.Endpoints {
					if err := printJSON(cmd.OutOrStdout(), status); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	o.addFlags(cmd)
	o.addJSON(cmd, "print one JSON object a line")
	return cmd
}

// printEndpoints prints what a person reads.
func printEndpoints(out io.Writer, all []deliver.Status, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "the config has no endpoints")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tBREAKER\tPARTITIONS\tWAITING\tOLDEST\tDEAD")
	for _, s := range all {
		state := "delivering"
		if s.State.Paused {
			state = fmt.Sprintf("paused (%s, %s)", s.State.Reason, ageText(s.State.Since, now))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%d\n", s.Name, state, s.Breaker, s.Shares, s.Waiting, ageText(s.Oldest, now), s.Dead)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func newDeliverTestCommand() *cobra.Command {
	var o deliverOptions
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send an endpoint a test event",
		Long: `Test has the receiver send one event of type ` + deliver.TestEvent + ` to an endpoint, at once and
once, signed as all are, also where the endpoint is paused. It prints the status, how
long that took, and why it was not delivered. Exits 1 where it was not.`,
		Example: `  spillway deliver test crm
  spillway deliver test crm --json | jq .code`,
		Args: oneEndpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.do(cmd, func(ctx context.Context, remote *remoteAdmin) error {
				var result testResult
				if err := remote.one(ctx, http.MethodPost, deliverPath+"/"+args[0]+"/test", nil, &result); err != nil {
					return err
				}
				return o.printTest(cmd.OutOrStdout(), result)
			})
		},
	}
	o.addFlags(cmd)
	o.addJSON(cmd, "print one JSON object")
	return cmd
}

// printTest prints what came of a test, and fails where that is not what it should.
func (o *deliverOptions) printTest(out io.Writer, r testResult) error {
	err := error(nil)
	if o.json {
		err = printJSON(out, r)
	} else {
		code := "none"
		if r.Code != 0 {
			code = fmt.Sprintf("%d %s", r.Code, http.StatusText(r.Code))
		}
		text := fmt.Sprintf("result   %s\nstatus   %s\ntime     %.3f s\n", r.Result, strings.TrimSpace(code), r.Seconds)
		if r.Reason != "" {
			text += "reason   " + r.Reason + "\n"
		}
		_, err = io.WriteString(out, text)
	}
	if err == nil && r.Result != resultDelivered {
		err = fmt.Errorf("the test event was not delivered to %s", r.Endpoint)
	}
	return err
}

func newDeliverPauseCommand() *cobra.Command {
	return newDeliverStateCommand("pause", "Send an endpoint nothing until it is resumed",
		`Pause has no receiver send anything to an endpoint: what comes meanwhile waits, up to
its max_waiting, and is sent after spillway deliver resume. What has failed before is
given up after its retry_for all the same. A pause holds over restarts; what is under
way is finished.`)
}

func newDeliverResumeCommand() *cobra.Command {
	return newDeliverStateCommand("resume", "Deliver to a paused endpoint again",
		`Resume ends a pause: one of spillway deliver pause, or that of an endpoint that has
answered 410. What waits is sent, and what comes.`)
}

func newDeliverStateCommand(name, short, long string) *cobra.Command {
	var o deliverOptions
	cmd := &cobra.Command{
		Use:     name + " NAME",
		Short:   short,
		Long:    long + "\n\nIt prints one JSON line: the endpoint, and whether it is paused.",
		Example: "  spillway deliver " + name + " crm",
		Args:    oneEndpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.do(cmd, func(ctx context.Context, remote *remoteAdmin) error {
				var result pauseResult
				if err := remote.one(ctx, http.MethodPost, deliverPath+"/"+args[0]+"/"+name, nil, &result); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), result)
			})
		},
	}
	o.addFlags(cmd)
	return cmd
}
