package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"spillway/cmd/spillway/config"
	"spillway/dispatch/store"
)

const (
	contactsPath = "/contacts"
	// readContact bounds the answer that is read, in bytes.
	readContact = 1 << 20
)

// contactOptions are what `contact show` and `contact forget` were told.
type contactOptions struct {
	admin, waba, id string
}

func newContactCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contact",
		Short: "Show or forget what is kept about a customer",
		Long: `Contact answers a customer's request for, or against, their personal data. It asks
the admin listener of a running receiver.`,
		Example: `  spillway contact show --waba 102290129340398 --id 16505551234
  spillway contact forget --waba 102290129340398 --id 16505551234`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newContactRequest("show", http.MethodGet, "Print what is kept about a customer", `Show prints the contact as one JSON line. Exits 1 where it is not known.`),
		newContactRequest("forget", http.MethodDelete, "Remove a customer and their events",
			`Forget removes the contact, under all its ids, and its events from the streams, and
prints {"events":N}, how many. Exits 1 where the contact is not known. Webhooks in
the log go with log.retain, dead letters with log.dead_retain.`))
	return cmd
}

func newContactRequest(name, method, short, long string) *cobra.Command {
	var o contactOptions
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Long:    long,
		Example: "  spillway contact " + name + " --waba 102290129340398 --id 16505551234",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.waba == "" || o.id == "" {
				return usageError("--waba and --id must be given; see %s --help", cmd.CommandPath())
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			return o.request(ctx, method, cmd.OutOrStdout())
		},
	}
	admin := localURL("http", cmp.Or(os.Getenv("SPILLWAY_ADMIN"), config.DefaultConfig().Admin))
	cmd.Flags().StringVar(&o.admin, "admin", admin, "the `URL` of the admin listener")
	cmd.Flags().StringVar(&o.waba, "waba", "", "the `id` of the business account")
	cmd.Flags().StringVar(&o.id, "id", "", "the customer's wa_id or user_id")
	return cmd
}

// request asks the admin listener and prints its answer as one line. Errors
// name neither the customer nor the URL that does.
func (o *contactOptions) request(ctx context.Context, method string, out io.Writer) error {
	target, err := baseURL(o.admin, "http", contactsPath)
	if err != nil {
		return err
	}
	target.RawQuery = url.Values{"waba": {o.waba}, "id": {o.id}}.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return fmt.Errorf("ask admin listener: %w", withoutURL(err))
	}
	client := &http.Client{Timeout: clientTimeout}
	response, err := client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens at %s: start `spillway serve`, or name its admin listener with --admin", target.Host)
	} else if err != nil {
		return fmt.Errorf("ask admin listener: %w", withoutURL(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, readContact))
	if err != nil {
		return fmt.Errorf("read answer: %w", withoutURL(err))
	}
	switch {
	case response.StatusCode == http.StatusNotFound && strings.TrimSpace(string(body)) == store.ErrNoContact.Error():
		return errors.New("the contact is not known")
	case response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound:
		return fmt.Errorf("the admin listener answers %d", response.StatusCode)
	case response.StatusCode == http.StatusNotFound || !json.Valid(body):
		return fmt.Errorf("what listens at %s is not the admin listener of Spillway", target.Host)
	}
	return printJSON(out, json.RawMessage(body))
}
