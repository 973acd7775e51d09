package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

func newDeliverDeadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List and send again what endpoints were not told",
		Long: `Dead works on dead deliveries: events that an endpoint refused, that failed for its
retry_for, or that were the oldest of more than max_waiting. They are kept with
their events.`,
		Example: `  spillway deliver dead list crm
  spillway deliver dead retry crm --all`,
		Args: refuseUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeliverDeadListCommand(), newDeliverDeadRetryCommand())
	return cmd
}

func newDeliverDeadListCommand() *cobra.Command {
	var o deliverOptions
	var payload bool
	cmd := &cobra.Command{
		Use:   "list NAME",
		Short: "Print the dead deliveries of an endpoint",
		Long: `List prints one JSON line a dead delivery, oldest first in each partition: the uid and
type of its event, partition, attempts, the reason, when it was first tried and when
it was given up; with --payload the event's payload, which holds personal data.
NAME may be an endpoint that the config has no more.`,
		Example: `  spillway deliver dead list crm
  spillway deliver dead list crm | jq -r .reason | sort | uniq -c
  spillway deliver dead list crm --payload | jq .payload`,
		Args: oneEndpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.do(cmd, func(ctx context.Context, remote *remoteAdmin) error {
				return eachDead(ctx, remote, args[0], payload, func(d deadDelivery) error {
					d.At = ""
					return printJSON(cmd.OutOrStdout(), d)
				})
			})
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&payload, "payload", false, "print the events' payloads, too")
	return cmd
}

// eachDead gives all dead deliveries of an endpoint. It reads them page by page, as
// pager does, so that no answer is open while they are handed on.
func eachDead(ctx context.Context, remote *remoteAdmin, endpoint string, payload bool, give func(deadDelivery) error) error {
	query := deadQuery{Limit: fetchRecords, Payload: payload}
	for {
		var page []deadDelivery
		size, began := 0, time.Now()
		err := remote.stream(ctx, http.MethodGet, deliverPath+"/"+endpoint+"/dead", query.values(), func(line *logLine) error {
			if line.Delivery == nil {
				return nil
			}
			page = append(page, *line.Delivery)
			size += len(line.Delivery.Payload)
			if size >= fetchBytes || time.Since(began) >= fetchTime {
				return errPageFull
			}
			return nil
		})
		for _, d := range page {
			if err := give(d); err != nil {
				return err
			}
		}
		if err != nil && !errors.Is(err, errPageFull) {
			return err
		}
		if err == nil && len(page) < query.Limit {
			return nil
		}
		query.After = page[len(page)-1].At
	}
}

func newDeliverDeadRetryCommand() *cobra.Command {
	var o deliverOptions
	var all bool
	cmd := &cobra.Command{
		Use:   "retry NAME {UID… | --all}",
		Short: "Send dead deliveries again",
		Long: `Retry has dead deliveries sent again, as if they were new: at once, and for the
endpoint's retry_for where they fail. It prints one JSON line, how many wait again;
whether they arrive is told by spillway deliver list. Exits 1 where a UID that was
given is not among the dead deliveries.`,
		Example: `  spillway deliver dead retry crm 6ba7b810-9dad-51d1-80b4-00c04fd430c8
  spillway deliver dead retry crm --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := retriedUIDs(cmd, args, all)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			uids, err := retriedUIDs(cmd, args, all)
			if err != nil {
				return err
			}
			return o.do(cmd, func(ctx context.Context, remote *remoteAdmin) error {
				return retryDead(ctx, remote, args[0], uids, cmd.OutOrStdout())
			})
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all dead deliveries of the endpoint")
	return cmd
}

// retriedUIDs reads the arguments of `deliver dead retry`; nil stands for all.
func retriedUIDs(cmd *cobra.Command, args []string, all bool) ([]uuid.UUID, error) {
	if all {
		return nil, oneEndpoint(cmd, args)
	}
	if err := namedEndpoint(cmd, args); err != nil {
		return nil, err
	}
	if len(args) == 1 {
		return nil, usageError("name dead deliveries by their UIDs, or give --all; see %s --help", cmd.CommandPath())
	}
	seen := make(map[uuid.UUID]bool)
	var uids []uuid.UUID
	for _, text := range args[1:] {
		uid, err := uuid.Parse(text)
		if err != nil {
			return nil, usageError("%q is not a UID; see spillway deliver dead list", text)
		}
		if !seen[uid] {
			seen[uid], uids = true, append(uids, uid)
		}
	}
	return uids, nil
}

func retryDead(ctx context.Context, remote *remoteAdmin, endpoint string, uids []uuid.UUID, out io.Writer) error {
	query, body := url.Values{queryAll: {"true"}}, []byte(nil)
	if uids != nil {
		var err error
		if body, err = json.Marshal(deadRetryRequest{uids}); err != nil {
			return fmt.Errorf("name dead deliveries: %w", err)
		}
		query = nil
	}
	var result deadRetryResult
	if err := remote.send(ctx, http.MethodPost, deliverPath+"/"+endpoint+"/dead/retry", query, bytes.NewReader(body), &result); err != nil {
		return err
	}
	if err := printJSON(out, result); err != nil {
		return err
	}
	if missing := len(uids) - result.Retried; missing > 0 {
		return fmt.Errorf("%d of %d are not among the dead deliveries of %s", missing, len(uids), endpoint)
	}
	return nil
}
