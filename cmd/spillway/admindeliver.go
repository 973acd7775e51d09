package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/deliver"
	posting "spillway/dispatch/deliver/post"
	"spillway/dispatch/store"
)

const (
	// deliverRequests bounds the requests about outgoing webhooks at a time.
	deliverRequests = 16
	// deliveryPage is how many dead deliveries are read of the store in one go.
	deliveryPage = 100
	// maxRetryBody bounds a list of uids: some hundred thousand.
	maxRetryBody = 4 << 20
)

// outgoing is what an operator asks of outgoing webhooks and does to them; see
// deliver.Deliverer.
type outgoing interface {
	List(ctx context.Context) ([]deliver.Status, error)
	Test(ctx context.Context, name string) (posting.Result, error)
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	DeadList(ctx context.Context, name string, after *store.Dead, limit int) ([]store.Dead, error)
	DeadRetry(ctx context.Context, name string, uids []uuid.UUID) (int, error)
}

// deliverDesk answers for outgoing webhooks on the admin listener.
type deliverDesk struct {
	*desk
	outgoing outgoing
}

func newDeliverDesk(outgoing outgoing, logger *slog.Logger) *deliverDesk {
	d := &deliverDesk{
		desk:     newDesk(deliverRequests, "too many requests about outgoing webhooks already: try again later", deliverStatus),
		outgoing: outgoing,
	}
	d.failed = func(err error, path, id string) {
		logger.Error("a request about outgoing webhooks failed", "error", err, "path", path, "request_id", id)
	}
	return d
}

func deliverStatus(err error) int {
	if errors.Is(err, deliver.ErrNoEndpoint) {
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// register adds the paths that newAdmin lists.
func (d *deliverDesk) register(mux *http.ServeMux) {
	one := deliverPath + "/{name}"
	mux.HandleFunc("GET "+deliverPath, d.with(d.list))
	mux.HandleFunc("POST "+one+"/test", d.named(d.test))
	mux.HandleFunc("POST "+one+"/pause", d.named(d.pause))
	mux.HandleFunc("POST "+one+"/resume", d.named(d.resume))
	mux.HandleFunc("GET "+one+"/dead", d.named(d.dead))
	mux.HandleFunc("POST "+one+"/dead/retry", d.named(d.retry))
}

// named is with for one endpoint.
func (d *deliverDesk) named(handle func(context.Context, *lineWriter, *http.Request, string) error) http.HandlerFunc {
	return d.with(func(ctx context.Context, w *lineWriter, r *http.Request) error {
		name := r.PathValue("name")
		if !endpointName.MatchString(name) {
			return noEndpoint(name)
		}
		return handle(ctx, w, r, name)
	})
}

func noEndpoint(name string) error { return fmt.Errorf("endpoint %q: %w", name, deliver.ErrNoEndpoint) }

func (d *deliverDesk) list(ctx context.Context, w *lineWriter, _ *http.Request) error {
	all, err := d.outgoing.List(ctx)
	if err != nil {
		return err
	}
	if all == nil {
		all = []deliver.Status{}
	}
	return w.write(endpointList{all})
}

func (d *deliverDesk) test(ctx context.Context, w *lineWriter, _ *http.Request, name string) error {
	began := time.Now()
	result, err := d.outgoing.Test(ctx, name)
	if err != nil {
		return err
	}
	return w.write(testResult{
		Endpoint: name, Result: result.Outcome.String(), Code: result.Code, Seconds: time.Since(began).Seconds(), Reason: result.Reason,
	})
}

func (d *deliverDesk) pause(ctx context.Context, w *lineWriter, _ *http.Request, name string) error {
	if err := d.outgoing.Pause(ctx, name); err != nil {
		return err
	}
	return w.write(pauseResult{Endpoint: name, Paused: true})
}

func (d *deliverDesk) resume(ctx context.Context, w *lineWriter, _ *http.Request, name string) error {
	if err := d.outgoing.Resume(ctx, name); err != nil {
		return err
	}
	return w.write(pauseResult{Endpoint: name})
}

// dead lists what was given up, also of an endpoint that is not configured any more.
func (d *deliverDesk) dead(ctx context.Context, w *lineWriter, r *http.Request, name string) error {
	query, err := parseDeadQuery(r.URL.Query())
	if err != nil {
		return badRequest{err}
	}
	after, err := parseAt(name, query.After)
	if err != nil {
		return badRequest{err}
	}
	for left := query.Limit; query.Limit == 0 || left > 0; {
		size := deliveryPage
		if query.Limit > 0 {
			size = min(size, left)
		}
		page, err := d.outgoing.DeadList(ctx, name, after, size)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			if after == nil {
				err = d.known(ctx, name)
			}
			return w.end(err)
		}
		for i := range page {
			line := deadDeliveryOf(&page[i], query.Payload)
			if err := w.write(logLine{Delivery: &line}); err != nil {
				return err
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		after, left = &page[len(page)-1], left-len(page)
	}
	return w.end(nil)
}

// known tells an endpoint without dead deliveries from a misspelt one.
func (d *deliverDesk) known(ctx context.Context, name string) error {
	all, err := d.outgoing.List(ctx)
	if err != nil {
		return err
	}
	for _, status := range all {
		if status.Name == name {
			return nil
		}
	}
	return noEndpoint(name)
}

// retry takes the uids of its body, or all=true.
func (d *deliverDesk) retry(ctx context.Context, w *lineWriter, r *http.Request, name string) error {
	uids, err := parseRetry(r)
	if err != nil {
		return badRequest{err}
	}
	n, err := d.outgoing.DeadRetry(ctx, name, uids)
	if err != nil {
		if n > 0 {
			err = fmt.Errorf("after %d dead deliveries that wait again: %w", n, err)
		}
		return err
	}
	return w.write(deadRetryResult{Endpoint: name, Retried: n})
}

// parseRetry gives nil for all.
func parseRetry(r *http.Request) ([]uuid.UUID, error) {
	v := r.URL.Query()
	if err := refuseOthers(v, queryAll); err != nil {
		return nil, err
	}
	all, err := parseBool(v, queryAll)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRetryBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read body: %w", err)
	case len(body) > maxRetryBody:
		return nil, fmt.Errorf("the body is larger than %d bytes: send the uids in parts, or all=true", maxRetryBody)
	case all && len(body) == 0:
		return nil, nil
	case all:
		return nil, errors.New("either uids or all=true, not both")
	}
	var request deadRetryRequest
	if err := json.Unmarshal(body, &request); err != nil || len(request.UIDs) == 0 {
		return nil, errors.New(`the body has to name dead deliveries: {"uids":["…"]}; or give all=true`)
	}
	return request.UIDs, nil
}
