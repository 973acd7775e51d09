// Command spillway receives WhatsApp webhooks and loses none: see `spillway
// serve --help`. Besides the receiver it holds the small programs around it:
//
//	serve                  the receiver itself
//	send, tail, token      a sender, a subscriber, and what the subscriber shows
//	log                    look into the log, and run it again
//	contact                personal data on request
//	deliver                outgoing webhooks: how endpoints are, what was given up
//	check, health, version before a start, while it runs, and after a question
//
// Arguments become a command, the command returns an error, the error becomes
// the exit code; only main exits. What a program would read goes to standard
// output, one JSON object a line; all else goes to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/wal"
)

// The exit codes.
const (
	exitOK = 0
	// exitFailure: the command was understood and failed.
	exitFailure = 1
	// exitUsage: the arguments or the config are wrong; nothing was done.
	exitUsage = 2
	// exitDisk: the disk failed under the log, and what was not
	// acknowledged is not kept. Starting again on the same disk may fail again.
	exitDisk = 3
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the arguments.
func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// exitCode is what the process ends with after err.
func exitCode(err error) int {
	var exit *exitError
	var mistakes config.Mistakes
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &mistakes):
		return exitUsage
	case errors.Is(err, errDisk), errors.Is(err, wal.ErrFailed):
		return exitDisk
	}
	return exitFailure
}

// execute runs one command line and gives the exit code.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err != nil {
		fmt.Fprintf(stderr, "spillway: %v\n", err)
	}
	return exitCode(err)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "spillway",
		Short: "An edge receiver for WhatsApp webhooks that loses nothing",
		Long: `Spillway takes WhatsApp webhooks, answers 200 only when they are on disk, turns
them into events, and streams the events to whoever listens.

Exit codes: 0 done, 1 failed, 2 wrong arguments or config, 3 the disk failed.`,
		Example: `  spillway serve --dev
  spillway send --sample message
  spillway tail`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          refuseUnknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%w; see %s --help", err, cmd.CommandPath())
	})
	root.SetHelpCommand(newHelpCommand())
	root.AddCommand(newServeCommand(), newSendCommand(), newTailCommand(), newTokenCommand(),
		newLogCommand(), newContactCommand(), newDeliverCommand(), newBenchCommand(), newCheckCommand(), newHealthCommand(), newVersionCommand())
	return root
}

// newHelpCommand is cobra's but for one thing: help on what is no command fails.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Explain a command",
		Example: "  spillway help contact show",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError("%q is not a command; see %s --help", strings.Join(args, " "), cmd.Root().Name())
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// refuseUnknownCommand is for commands that only have subcommands.
func refuseUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		hint = ", did you mean " + strings.Join(meant, " or ") + "?"
	}
	return usageError("%q is not a command%s; see %s --help", args[0], hint, cmd.CommandPath())
}

// noArguments is for commands that take flags alone.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%q is not expected; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}

// untilInterrupted gives the command's context, which a signal to stop ends.
func untilInterrupted(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}
