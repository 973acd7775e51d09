package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"spillway/dispatch/deliver"
)

const (
	// readAnswer bounds an error text that is read, in bytes.
	readAnswer = 64 << 10
	// remotePatience is how long a receiver that is only read from may be silent:
	// it tells where it is far more often.
	remotePatience = 10 * time.Second
)

// remoteAdmin is the admin listener of a running receiver.
type remoteAdmin struct {
	base     *url.URL
	client   *http.Client
	patience time.Duration
}

func newRemoteAdmin(address string) (*remoteAdmin, error) {
	base, err := baseURL(address, "http", "/")
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	return &remoteAdmin{base: base, client: client, patience: remotePatience}, nil
}

func (r *remoteAdmin) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

// errCut: the answer has no end.
var errCut = errors.New("the connection to the admin listener was cut: what came is not all")

// silence ends a context once a receiver has said nothing for too long.
type silence struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// listen limits the silence of a request that reads. What runs the log again may
// be silent for as long as a store is away.
func (r *remoteAdmin) listen(ctx context.Context, method string) (context.Context, *silence) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &silence{limit: math.MaxInt64, cancel: cancel}
	if method == http.MethodGet {
		s.limit = r.patience
	}
	s.timer = time.AfterFunc(s.limit, func() {
		cancel(fmt.Errorf("the admin listener at %s has said nothing for %s: the receiver is stopped or stuck, or another program listens there; name the right one with --admin",
			r.base.Host, s.limit))
	})
	return ctx, s
}

func (s *silence) pause()  { s.timer.Stop() }
func (s *silence) resume() { s.timer.Reset(s.limit) }

func (s *silence) end() {
	s.timer.Stop()
	s.cancel(nil)
}

// ask sends a request and gives the body of an answer that is good. Who calls
// has to close it. Body is nil for none.
func (r *remoteAdmin) ask(ctx context.Context, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	target := r.base.JoinPath(path)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask admin listener: %w", withoutURL(err))
	}
	response, err := r.client.Do(request)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("nothing listens at %s: %w", r.base.Host, syscall.ECONNREFUSED)
	case err != nil:
		return nil, fmt.Errorf("ask admin listener: %w", withoutURL(err))
	case response.StatusCode == http.StatusOK && response.Header.Get("Content-Type") == "application/x-ndjson":
		return response.Body, nil
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, readAnswer))
	answer := string(bytes.TrimSpace(text))
	switch response.StatusCode {
	case http.StatusNotFound:
		if answer == errNoLetter.Error() {
			return nil, errNoLetter
		}
		if strings.HasSuffix(answer, deliver.ErrNoEndpoint.Error()) {
			return nil, fmt.Errorf("%s; see spillway deliver list", answer)
		}
	case http.StatusBadRequest, http.StatusConflict, http.StatusInternalServerError, http.StatusServiceUnavailable:
		if answer != "" {
			return nil, errors.New(answer)
		}
	}
	return nil, fmt.Errorf("what listens at %s is not the admin listener of this version of Spillway: it answers %d", r.base.Host, response.StatusCode)
}

// one asks for an answer of one value.
func (r *remoteAdmin) one(ctx context.Context, method, path string, query url.Values, into any) error {
	return r.send(ctx, method, path, query, nil, into)
}

// send is one with a body, nil for none.
func (r *remoteAdmin) send(ctx context.Context, method, path string, query url.Values, body io.Reader, into any) error {
	ctx, silence := r.listen(ctx, method)
	defer silence.end()
	answer, err := r.ask(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	return r.decode(ctx, json.NewDecoder(answer), into)
}

func (r *remoteAdmin) decode(ctx context.Context, decoder *json.Decoder, into any) error {
	switch err := decoder.Decode(into); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errCut
	default:
		return fmt.Errorf("read answer of the admin listener: %w", withoutURL(err))
	}
}

// stream asks for an answer of many lines, the last of which says that it is
// the last.
func (r *remoteAdmin) stream(ctx context.Context, method, path string, query url.Values, handle func(*logLine) error) error {
	ctx, silence := r.listen(ctx, method)
	defer silence.end() // so that an answer that is no longer wanted ends at once
	body, err := r.ask(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var line logLine
		if err := r.decode(ctx, decoder, &line); err != nil {
			return err
		}
		silence.pause() // while the line is handled
		switch {
		case line.Error != "":
			return errors.New(line.Error)
		case line.End:
			return nil
		}
		if err := handle(&line); err != nil {
			return err
		}
		silence.resume()
	}
}
