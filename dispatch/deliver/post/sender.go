// Package post makes one delivery of an event to one endpoint, and says what came of
// it.
//
//	event ──▶ sign ──▶ look the name up ──▶ check the address ──▶ connect, TLS ──▶ POST ──▶ status ──▶ Result
//	          by every secret               each one, when it is connected to               2xx, retry, gone, refused
//
// It promises that nothing but a public address, or one that is allowed, is ever
// connected to, whatever a name leads to and however often that changes; that a
// delivery ends within its timeout; and that an endpoint can neither fill the memory
// nor write into what is logged. Breaker holds back from an endpoint that is down.
package post

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// drainBytes and drainTime bound what is read of an answer's body, so that the
	// connection may be used again. A longer or slower one costs its connection.
	drainBytes = 64 << 10
	drainTime  = time.Second
	// headerBytes bounds an answer's header.
	headerBytes = 64 << 10
	// idleTime is how long an unused connection stays open.
	idleTime = 90 * time.Second
	// pingAfter and pingTime find a connection of HTTP/2 that is lost without a word.
	pingAfter = 15 * time.Second
	pingTime  = 5 * time.Second
)

// Sender delivers to one endpoint. Its methods may be called at the same time.
type Sender struct {
	timeout time.Duration
	signer  *signer
	// request is copied for each delivery, header holds what all have in common.
	request   *http.Request
	header    http.Header
	dialer    *net.Dialer
	transport *http.Transport
}

// New connects to nothing yet. Its error names all mistakes of cfg.
func New(cfg Config) (*Sender, error) {
	mistake := cfg.validate()
	cfg = cfg.withDefaults()
	target, guard, urlMistake := cfg.parseURL()
	signer, secretMistake := newSigner(cfg.Secrets)
	if err := errors.Join(urlMistake, secretMistake, mistake); err != nil {
		return nil, err
	}
	// Control sees each address right before it is connected to: a name that leads
	// elsewhere by then is found out.
	dialer := &net.Dialer{Timeout: cfg.Timeout / 2, KeepAlive: 30 * time.Second, Control: guard.Safe}
	return &Sender{
		timeout:   cfg.Timeout,
		signer:    signer,
		request:   &http.Request{Method: http.MethodPost, URL: target, Host: target.Host},
		header:    commonHeader(cfg),
		dialer:    dialer,
		transport: newTransport(cfg, dialer),
	}, nil
}

func commonHeader(cfg Config) http.Header {
	header := http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {cfg.UserAgent},
		// Never sent: it tells net/http that the request may be sent again at once where
		// a connection that was open turns out to be closed, as for GET. A receiver knows
		// it by its webhook-id.
		"Idempotency-Key": {},
	}
	for name, value := range cfg.Headers {
		header.Set(name, value)
	}
	return header
}

// newTransport has no proxy, which would connect where nothing is checked.
func newTransport(cfg Config, dialer *net.Dialer) *http.Transport {
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    cfg.Timeout / 2,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTime},
		DisableCompression:     true,
		MaxIdleConns:           cfg.Concurrency,
		MaxIdleConnsPerHost:    cfg.Concurrency,
		MaxConnsPerHost:        cfg.Concurrency,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: headerBytes,
	}
}

// Send delivers body, which is JSON, not empty, and never changed from now on. id is
// the event's uid: the same with every try.
func (s *Sender) Send(ctx context.Context, id string, body []byte) Result {
	start := time.Now()
	try, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answer, err := s.transport.RoundTrip(s.prepare(try, id, start, body))
	took := time.Since(start)
	if err != nil {
		if ctx.Err() != nil {
			return Result{Outcome: Stopped, Reason: "stopped before an answer", Took: took}
		}
		return Result{Outcome: Retry, Reason: reasonOf(err), Took: took}
	}
	result := answered(answer, time.Now())
	result.Took = took
	drain(answer, cancel)
	return result
}

// Close ends the connections. It is called when no Send is under way or will be, and
// may be called twice.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

func (s *Sender) prepare(ctx context.Context, id string, now time.Time, body []byte) *http.Request {
	seconds := now.Unix()
	standard, github := s.signer.sign(id, seconds, body)
	values := [...]string{id, strconv.FormatInt(seconds, 10), standard, github}
	header := make(http.Header, len(s.header)+len(values))
	maps.Copy(header, s.header)
	header["Webhook-Id"] = values[0:1:1]
	header["Webhook-Timestamp"] = values[1:2:2]
	header["Webhook-Signature"] = values[2:3:3]
	header["X-Webhook-Signature"] = values[3:4:4]

	request := s.request.WithContext(ctx)
	request.Header = header
	request.ContentLength = int64(len(body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	request.Body, _ = request.GetBody()
	return request
}

// drain reads a short body to its end, so that the connection is free again, and
// closes it. Whatever is wrong with it changes nothing: the status has come.
func drain(answer *http.Response, cancel context.CancelFunc) {
	defer answer.Body.Close()
	if answer.Body == http.NoBody {
		return
	}
	late := time.AfterFunc(drainTime, cancel)
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, answer.Body, drainBytes+1)
}
