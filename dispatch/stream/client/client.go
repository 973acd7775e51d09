// Package client reads the event stream of a server, over and over.
//
//	dial ──▶ events ──▶ repeats dropped ──▶ emit
//	  ▲                                      │ the id of the last one
//	  └── wait ◀── connection lost ◀─────────┘
//
// After a lost connection it resumes behind the last id it was given, so that no
// event is missed; one that comes a second time is dropped by its uid. Only what
// cannot get better ends it: a refused token where there is no other, a place that is no longer kept, an
// answer that is no stream, and an error of emit.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"spillway/dispatch/backoff"
)

// redial is how a server that is away is dialled again.
var redial = backoff.Policy{First: 200 * time.Millisecond, Most: 15 * time.Second}

// restartSpread is the time over which the readers of a server that restarts come
// back to it or another one.
const restartSpread = time.Second

// pause is the wait before the next connection. random is in [0, 1).
func pause(attempt int, lost error, random float64) time.Duration {
	var closed *websocket.CloseError
	if attempt == 0 && errors.As(lost, &closed) && closed.Code == websocket.CloseServiceRestart {
		return time.Duration(random * float64(restartSpread))
	}
	return redial.Wait(attempt, random)
}

// Event is one event of the stream.
type Event struct {
	// ID is its place, to resume from; UID is the same wherever it comes again.
	ID      string          `json:"id"`
	UID     uuid.UUID       `json:"uid"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload"`
}

// Options say what to read.
type Options struct {
	// URL of the server: ws, wss, http or https; without a path it is /ws.
	URL string
	// Token is sent as a header, never in the URL.
	Token string
	// TokenFunc, if set, gives the token in place of Token: for the first connection,
	// and anew when one was refused or has expired. Where it fails, or its token is
	// refused, it is asked again later. Its context ends with DialTimeout.
	TokenFunc func(context.Context) (string, error)
	// Since is an id to resume after, "0" for the oldest kept, or empty for what
	// comes from now on.
	Since string
	// Events and PhoneNumberID narrow what the token allows; comma-separated.
	Events, PhoneNumberID string
	// Repeats has emit called for events that come a second time as well.
	Repeats bool
	// OnPosition, if set, is told where the stream is when that says so: once it is
	// level, and now and then.
	OnPosition func(id string)
	// OnState, if set, is told when a connection is up and why one was lost.
	OnState func(State)
	// DialTimeout bounds a connection attempt and a call of TokenFunc, Silence how long a connection may
	// bring nothing, not even a ping. Zero: 10 s, and 75 s.
	DialTimeout, Silence time.Duration
}

// State is how the connection is.
type State struct {
	Connected bool
	// Err is why the last connection or attempt ended; RetryIn when the next is.
	Err     error
	RetryIn time.Duration
}

// ErrToken is returned when the server does not accept the token, or no longer.
var ErrToken = errors.New("token refused: it is wrong or expired")

// SinceError is returned when the server does not know the id to resume from, or
// no longer keeps what came after it.
type SinceError struct {
	// Since is what was asked for, Oldest an id to resume from the oldest kept.
	Since, Oldest string
}

// Error names both ids.
func (e *SinceError) Error() string {
	return fmt.Sprintf("events after %q are not kept or not known; the oldest kept come after %q", e.Since, e.Oldest)
}

// errAnswer is an answer that trying again does not change.
var errAnswer = errors.New("server does not serve the stream")

// The server's close codes; see package stream.
const (
	codeToken = 4001
	codeSince = 4009
)

const (
	defaultDialTimeout = 10 * time.Second
	defaultSilence     = 75 * time.Second
	pongWait           = 5 * time.Second
	// mostAnswer is how much of an answer is read, in bytes, for what it says.
	mostAnswer = 200
)

// Tail calls emit with each event, in order, until ctx ends (it returns
// ctx.Err()), emit fails (it returns that error), or the server refuses for good.
func Tail(ctx context.Context, options Options, emit func(Event) error) error {
	address, err := options.address()
	if err != nil {
		return err
	}
	if options.DialTimeout <= 0 {
		options.DialTimeout = defaultDialTimeout
	}
	if options.Silence <= 0 {
		options.Silence = defaultSilence
	}
	t := &tail{options: options, address: address, last: options.Since, emit: emit, recent: newRecent(recentUIDs)}
	for attempt := 0; ; attempt++ {
		heard, err := t.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err = t.final(err); err != nil {
			return err
		}
		if heard {
			attempt = 0
		}
		delay := pause(attempt, t.lost, rand.Float64())
		t.state(State{Err: t.lost, RetryIn: delay})
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// address makes the URL to dial, without what narrows the stream.
func (o *Options) address() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("parse stream URL: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http", "https":
		u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	default:
		return nil, fmt.Errorf("parse stream URL: scheme %q is not ws, wss, http or https", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("parse stream URL: no host")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/ws"
	}
	return u, nil
}

// tail is one run of Tail.
type tail struct {
	options Options
	address *url.URL
	emit    func(Event) error
	recent  *recent
	// token is the one in use, empty where TokenFunc is to give one.
	token string
	// last is the id to resume after.
	last string
	// served is true once there was a connection.
	served bool
	// lost is why the last connection ended.
	lost error
}

// emitError carries an error of emit past what is only a lost connection.
type emitError struct{ err error }

func (e *emitError) Error() string { return e.err.Error() }

func (t *tail) state(s State) {
	if t.options.OnState != nil {
		t.options.OnState(s)
	}
}

// final gives the error to return where it makes no sense to try again.
func (t *tail) final(err error) error {
	t.lost = err
	var failed *emitError
	if errors.As(err, &failed) {
		return failed.err
	}
	// What served the stream before is being replaced, or something stands in for it.
	if errors.Is(err, errAnswer) && !t.served {
		return err
	}
	var closed *websocket.CloseError
	if !errors.As(err, &closed) {
		closed = &websocket.CloseError{}
	}
	if closed.Code == codeSince {
		return fmt.Errorf("read stream: %w", &SinceError{Since: t.last, Oldest: closed.Text})
	}
	if closed.Code == codeToken {
		err = fmt.Errorf("read stream: %w", ErrToken)
	}
	if !errors.Is(err, ErrToken) {
		return nil
	}
	if t.options.TokenFunc == nil {
		return err
	}
	t.lost, t.token = err, ""
	return nil
}

// connect dials and reads until the connection ends; heard tells whether it
// brought anything.
func (t *tail) connect(ctx context.Context) (heard bool, err error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	// A read ends only with its connection.
	stop := context.AfterFunc(ctx, func() { leave(conn) })
	defer stop()
	t.state(State{Connected: true})
	conn.SetPingHandler(func(data string) error {
		t.listen(conn)
		// A lost pong shows as a lost connection.
		_ = conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(pongWait))
		return nil
	})
	for {
		t.listen(conn)
		_, data, err := conn.ReadMessage()
		if err != nil {
			return heard, fmt.Errorf("read stream: %w", err)
		}
		heard = true
		if err := t.take(data); err != nil {
			return heard, err
		}
	}
}

// leave says goodbye, and cuts the connection.
func leave(conn *websocket.Conn) {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
	_ = conn.Close()
}

// listen puts off the time at which a silent server is given up.
func (t *tail) listen(conn *websocket.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(t.options.Silence))
}

func (t *tail) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.options.DialTimeout)
	defer cancel()
	if err := t.fetchToken(ctx); err != nil {
		return nil, err
	}
	u := *t.address
	query := u.Query()
	for name, value := range map[string]string{
		"since": t.last, "events": t.options.Events, "phone_number_id": t.options.PhoneNumberID,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	header := http.Header{}
	if t.token != "" {
		header.Set("Authorization", "Bearer "+t.token)
	}
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: t.options.DialTimeout}
	conn, response, err := dialer.DialContext(ctx, u.String(), header)
	if err == nil {
		t.served = true
		return conn, nil
	}
	if response != nil {
		return nil, refused(response, err)
	}
	return nil, fmt.Errorf("dial stream: %w", err)
}

// fetchToken has a token ready, if there is to be one.
func (t *tail) fetchToken(ctx context.Context) error {
	if t.options.TokenFunc == nil {
		t.token = t.options.Token
	}
	if t.options.TokenFunc == nil || t.token != "" {
		return nil
	}
	token, err := t.options.TokenFunc(ctx)
	if err != nil {
		return fmt.Errorf("get token: %w", err)
	}
	t.token = token
	return nil
}

// refused sorts the answers to an upgrade: 408, 429 and those above 499 may
// change, all others not.
func refused(response *http.Response, err error) error {
	status := response.StatusCode
	text, _ := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	_ = response.Body.Close()
	if line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n"); line != "" {
		err = errors.New(line)
	}
	again := status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests
	switch {
	case again:
		return fmt.Errorf("dial stream: answer %d: %w", status, err)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("dial stream: answer %d: %w", status, ErrToken)
	}
	return fmt.Errorf("dial stream: answer %d: %w", status, errAnswer)
}

// take handles one message: an event, a position, or one that is not for us.
func (t *tail) take(data []byte) error {
	var event Event
	if err := json.Unmarshal(data, &event); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	if event.ID == "" {
		return nil
	}
	if event.Type == "stream:position" {
		t.last = event.ID
		if t.options.OnPosition != nil {
			t.options.OnPosition(event.ID)
		}
		return nil
	}
	repeat := t.recent.has(event.UID)
	if repeat && !t.options.Repeats {
		t.last = event.ID
		return nil
	}
	if err := t.emit(event); err != nil {
		return &emitError{err}
	}
	// Only an event that was taken counts: one whose emit failed comes again.
	if !repeat {
		t.recent.add(event.UID)
	}
	t.last = event.ID
	return nil
}
