package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"spillway/dispatch/backoff"
	"spillway/dispatch/stream/client"
)

// forwardRetry is how soon an event is posted again: often, for someone waits
// for the program that they have just restarted.
var forwardRetry = backoff.Policy{First: 200 * time.Millisecond, Most: 2 * time.Second}

// forwardAnswer is how much of an answer is read, in bytes, so that its
// connection can be used again.
const forwardAnswer = 64 << 10

// forwarder posts events to a program, one at a time. It belongs to one
// goroutine.
type forwarder struct {
	target   *url.URL
	client   *http.Client
	attempts int
	stderr   io.Writer
	palette  palette
}

func newForwarder(o *tailOptions, stderr io.Writer) (*forwarder, error) {
	target, err := forwardURL(o.forward)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSHandshakeTimeout: 10 * time.Second}
	if target.Scheme == "https" {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &forwarder{
		target: target,
		client: &http.Client{
			Timeout:   o.forwardTimeout,
			Transport: transport,
			// Personal data goes where the user said, and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		attempts: o.forwardAttempts,
		stderr:   stderr,
		palette:  paletteOf(stderr),
	}, nil
}

func (f *forwarder) close() { f.client.CloseIdleConnections() }

// portAlone is a port of this machine, with or without a path.
var portAlone = regexp.MustCompile(`^:?([0-9]+(?:/.*)?)$`)

// forwardURL reads where to post to: a URL, one without its scheme, or a port.
// Without TLS only this machine is allowed.
func forwardURL(text string) (*url.URL, error) {
	if port := portAlone.FindStringSubmatch(text); port != nil {
		text = "localhost:" + port[1]
	}
	u, err := baseURL(text, "http", "/")
	if err != nil {
		return nil, fmt.Errorf("--forward: %w", err)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return nil, usageError("--forward: %s is not this machine, and events hold personal data: use https", u.Host)
	}
	return u, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// deliver returns once the program answered with 2xx, or the event is given up.
// Its error is that of ctx, which ended before.
func (f *forwarder) deliver(ctx context.Context, e client.Event) error {
	var body bytes.Buffer
	if err := printJSON(&body, e); err != nil {
		return err
	}
	refused := 0
	for attempt := 0; ; attempt++ {
		began := time.Now()
		status, answer, err := f.post(ctx, body.Bytes())
		took := briefly(time.Since(began))
		if status/100 == 2 {
			f.say(styleGreen, fmt.Sprintf("→ %d in %s", status, took))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failure := f.failure(err)
		if err == nil {
			failure = fmt.Sprintf("→ %d in %s%s", status, took, answer)
			if refused++; refused == f.attempts {
				f.say(styleRed, failure+"; going on without it")
				return nil
			}
		}
		wait := forwardRetry.Wait(attempt, rand.Float64())
		f.say(styleRed, failure+"; trying again in "+briefly(wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// post makes one attempt. The answer is what a failed one said, to put behind
// its status.
func (f *forwarder) post(ctx context.Context, body []byte) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.target.String(), bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "spillway-tail")
	response, err := f.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	// The status counts, whatever becomes of what follows it.
	said, _ := io.ReadAll(io.LimitReader(response.Body, forwardAnswer))
	if said = bytes.TrimSpace(said); len(said) > 0 {
		answer = ": " + clean(string(said), errorLength)
	}
	return response.StatusCode, answer, nil
}

// failure tells why there was no answer, without the URL: it may hold a password.
func (f *forwarder) failure(err error) string {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "→ no answer in " + briefly(f.client.Timeout)
	}
	return "→ no answer: " + clean(fmt.Sprint(withoutURL(err)), errorLength)
}

func (f *forwarder) say(style, line string) {
	fmt.Fprintln(f.stderr, f.palette.paint(style, line))
}

// briefly writes a duration as people do: 3 ms, 1.5 s.
func briefly(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
