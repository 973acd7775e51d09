package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func newLogDeadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show and retry what could not be decoded",
		Long: `Dead works on dead letters: what stood in a webhook and could not be turned into an
event. A letter is named by LANE SEQ ITEM, as list prints them; ITEM is a number,
or whole where it is the whole webhook.`,
		Example: `  spillway log dead list
  spillway log dead show express 7 0
  spillway log dead retry --all`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLogDeadListCommand(), newLogDeadShowCommand(), newLogDeadRetryCommand())
	return cmd
}

// deadLine is a dead letter as it is printed.
type deadLine struct {
	Lane     string    `json:"lane"`
	Seq      uint64    `json:"seq"`
	Item     deadItem  `json:"item"`
	Received time.Time `json:"received"`
	App      string    `json:"app"`
	Path     string    `json:"path,omitempty"`
	Reason   string    `json:"reason"`
	// Signature is shown with the body alone.
	Signature string `json:"signature,omitempty"`
}

func deadLineOf(e *deadEntry) deadLine {
	return deadLine{Lane: e.Lane, Seq: e.Seq, Item: e.Item, Received: e.Received, App: e.App, Path: e.Path, Reason: e.Reason,
		Signature: hex.EncodeToString(e.Signature)}
}

func newLogDeadListCommand() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print all dead letters, without their bodies",
		Long:  `List prints one JSON line a letter: where it stood, and why it could not be decoded.`,
		Example: `  spillway log dead list
  spillway log dead list | jq -r '"\(.lane) \(.seq) \(.item)"'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.do(cmd, false, func(ctx context.Context, source logSource, _ *job) error {
				err := source.Dead(ctx, func(e deadEntry) error { return printJSON(cmd.OutOrStdout(), deadLineOf(&e)) })
				if ctx.Err() != nil {
					return errInterrupted
				}
				return err
			})
		},
	}
	o.addFlags(cmd)
	return cmd
}

func newLogDeadShowCommand() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:     "show LANE SEQ ITEM",
		Short:   "Print a dead letter with its webhook",
		Long:    `Show prints a dead letter as one JSON line, with the whole webhook as its body.`,
		Example: "  spillway log dead show express 7 0 | jq .body",
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := namedLetter(cmd, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := namedLetter(cmd, args)
			if err != nil {
				return err
			}
			return o.do(cmd, false, func(ctx context.Context, source logSource, _ *job) error {
				letter, err := source.DeadLetter(ctx, name)
				if err != nil {
					return err
				}
				return printLetter(cmd.OutOrStdout(), &letter)
			})
		},
	}
	o.addFlags(cmd)
	return cmd
}

// printLetter prints a letter with its body, where that is still kept.
func printLetter(out io.Writer, letter *deadEntry) error {
	if len(letter.Body) == 0 {
		return printJSON(out, deadLineOf(letter))
	}
	line, err := withBody(deadLineOf(letter), letter.Body)
	if err != nil {
		return err
	}
	if _, err := out.Write(line); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

// namedLetter reads the arguments that name a dead letter.
func namedLetter(cmd *cobra.Command, args []string) (deadName, error) {
	if len(args) != 3 {
		return deadName{}, usageError("LANE SEQ ITEM must be given; see %s --help", cmd.CommandPath())
	}
	name, err := parseDeadName(args[0], args[1], args[2])
	if err != nil {
		return name, usageError("%w", err)
	}
	return name, nil
}

// retryOptions are what `log dead retry` was told.
type retryOptions struct {
	log        logOptions
	all, force bool
}

func newLogDeadRetryCommand() *cobra.Command {
	var o retryOptions
	cmd := &cobra.Command{
		Use:   "retry {LANE SEQ ITEM | --all}",
		Short: "Decode dead letters again",
		Long: `Retry decodes dead letters again, as after an upgrade that knows more, and applies
the events. One that can be decoded now is a dead letter no longer; what within it
still cannot be becomes a letter of its own. It prints one JSON line a letter;
result is "applied", "still dead", "too old" (letters older
than dedupe.window need --force) or "failed". Exits 1 where one is not applied.
Give the --config of the receiver where it does not run.`,
		Example: `  spillway log dead retry express 7 0
  spillway log dead retry --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.all {
				return noArguments(cmd, args)
			}
			if len(args) == 0 {
				return usageError("name a letter by LANE SEQ ITEM, or give --all; see %s --help", cmd.CommandPath())
			}
			_, err := namedLetter(cmd, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.log.do(cmd, true, func(ctx context.Context, source logSource, j *job) error {
				err := o.retry(cmd, args, ctx, source, j)
				if ctx.Err() != nil {
					return errInterrupted
				}
				return err
			})
		},
	}
	o.log.addFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.all, "all", false, "all dead letters")
	flags.BoolVar(&o.force, "force", false, "letters older than dedupe.window, too")
	return cmd
}

func (o *retryOptions) retry(cmd *cobra.Command, args []string, ctx context.Context, source logSource, j *job) error {
	dead, tried := 0, 0
	try := func(name deadName) error {
		result, err := source.Retry(ctx, name, o.force)
		if o.all && errors.Is(err, errNoLetter) {
			return nil // gone by log.dead_retain meanwhile
		}
		if err != nil {
			return err
		}
		if tried++; result.Result != retryApplied {
			dead++
		}
		j.progress("%d dead letters tried, %d not applied", tried, dead)
		return printJSON(cmd.OutOrStdout(), result)
	}
	if o.all {
		if err := eachLetter(ctx, source, try); err != nil {
			return err
		}
	} else {
		name, err := namedLetter(cmd, args)
		if err != nil {
			return err
		}
		if err := try(name); err != nil {
			return err
		}
	}
	if dead > 0 {
		return fmt.Errorf("%d of %d dead letters were not applied", dead, tried)
	}
	return nil
}

// eachLetter gives every dead letter by its name.
func eachLetter(ctx context.Context, source logSource, give func(deadName) error) error {
	return source.Dead(ctx, func(e deadEntry) error {
		lane, err := parseLane(e.Lane)
		if err != nil {
			return err
		}
		return give(deadName{Lane: lane, Seq: e.Seq, Item: int(e.Item)})
	})
}
