package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// healthTimeout bounds a health check: less than what supervisors wait for one.
	healthTimeout = 3 * time.Second
	// readHealth bounds the answer that is read, in bytes.
	readHealth = 4 << 10
)

// healthOptions are what `health` was told.
type healthOptions struct {
	adminOptions
	ready bool
}

func newHealthCommand() *cobra.Command {
	var o healthOptions
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running receiver whether it is alive, or takes webhooks",
		Long: `Health asks the admin listener of a running receiver: /healthz, or with --ready
/readyz. It is for the health checks of containers and supervisors, in images that
have no other program. It finds the listener as serve does: SPILLWAY_ADMIN, else the
file's admin, else the default.

A receiver that is alive may refuse webhooks, since its log or its disk is full, and
a restart would not help: let --ready decide about traffic, never about a restart.

Exits 1 where the answer is no, or none comes within 3 s.`,
		Example: `  spillway health
  spillway health --ready --admin 10.0.0.5:9090`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			return o.ask(ctx, cmd.OutOrStdout())
		},
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVar(&o.ready, "ready", false, "ask whether it takes webhooks")
	return cmd
}

// withoutProxy asks a receiver nearby, which a proxy for the world may not reach.
var withoutProxy = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// ask passes on what a good receiver answers; any other answer is the error.
func (o *healthOptions) ask(ctx context.Context, out io.Writer) error {
	path, good := healthPath, healthAnswer
	if o.ready {
		path, good = readyPath, readyAnswer
	}
	address, err := o.address()
	if err != nil {
		return err
	}
	base, err := baseURL(address, "http", "/")
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return fmt.Errorf("ask admin listener: %w", withoutURL(err))
	}
	response, err := withoutProxy.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s has not answered within %s", base.Host, healthTimeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s: %w", base.Host, syscall.ECONNREFUSED)
	case err != nil:
		return fmt.Errorf("ask admin listener at %s: %w", base.Host, withoutURL(err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, readHealth))
	text := string(bytes.TrimSpace(answer))
	switch {
	case err != nil:
		return fmt.Errorf("read answer of %s: %w", base.Host, withoutURL(err))
	case o.ready && response.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%s is not ready: %s", base.Host, text)
	case response.StatusCode != http.StatusOK || text != good:
		return fmt.Errorf("what listens at %s is not the admin listener of Spillway: it answers %d", base.Host, response.StatusCode)
	}
	_, err = fmt.Fprintln(out, text)
	return err
}
