package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// fasthttp keeps one goroutine of its own for the date, for good.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// script is a server that plays one connection after the other.
type script struct {
	t     *testing.T
	url   string
	parts []func(*websocket.Conn)

	mu     sync.Mutex
	asked  []string
	tokens []string
}

// play serves the parts, and the last one again and again.
func play(t *testing.T, parts ...func(*websocket.Conn)) *script {
	t.Helper()
	s := &script{t: t, parts: parts}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + listener.Addr().String()
	upgrader := websocket.FastHTTPUpgrader{CheckOrigin: func(*fasthttp.RequestCtx) bool { return true }}
	server := &fasthttp.Server{MaxIdleWorkerDuration: 20 * time.Millisecond, Handler: func(ctx *fasthttp.RequestCtx) {
		s.mu.Lock()
		part := s.parts[min(len(s.asked), len(s.parts)-1)]
		s.asked = append(s.asked, string(ctx.Path())+"?"+string(ctx.QueryArgs().QueryString()))
		s.tokens = append(s.tokens, string(ctx.Request.Header.Peek("Authorization")))
		s.mu.Unlock()
		if part == nil {
			ctx.SetStatusCode(503)
			return
		}
		_ = upgrader.Upgrade(ctx, part)
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Shutdown(); <-served })
	return s
}

func uid(n int) uuid.UUID { return uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)) }

// send gives a part that sends messages and closes with a code, 0 for cutting off.
func send(code int, reason string, messages ...string) func(*websocket.Conn) {
	return func(c *websocket.Conn) {
		for _, m := range messages {
			_ = c.WriteMessage(websocket.TextMessage, []byte(m))
		}
		if code != 0 {
			_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
		}
	}
}

func text(id string, n int) string {
	return fmt.Sprintf(`{"id":%q,"uid":%q,"type":"message:new","payload":{"n":%d}}`, id, uid(n), n)
}

const position = `{"type":"stream:position","id":"p"}`

func number(t *testing.T, e Event) int {
	t.Helper()
	var payload struct{ N int }
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	return payload.N
}

func TestTailResumes(t *testing.T) {
	s := play(t,
		send(0, "", position),
		send(4008, "b", text("a", 1), `{"type":"error","payload":{"message":"x"}}`, text("b", 2)),
		nil,
		send(1012, "", text("c", 2), position),
		send(1012, "", text("d", 1), text("e", 3)),
		send(4009, "oldest"),
	)
	var got []int
	var states []State
	err := Tail(t.Context(), Options{
		URL: s.url, Token: "T", Since: "0", Events: "a,b", PhoneNumberID: "7",
		OnState: func(s State) { states = append(states, s) },
	}, func(e Event) error {
		got = append(got, number(t, e))
		return nil
	})
	var gone *SinceError
	if !errors.As(err, &gone) || gone.Oldest != "oldest" || gone.Since != "e" {
		t.Fatalf("ended with %v", err)
	}
	if fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("got %v, want 1 2 3", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, since := range []string{"0", "p", "b", "b", "p", "e"} {
		if want := "/ws?events=a%2Cb&phone_number_id=7&since=" + since; s.asked[i] != want || s.tokens[i] != "Bearer T" {
			t.Errorf("attempt %d asked %q with %q, want %q", i, s.asked[i], s.tokens[i], want)
		}
	}
	connected := 0
	for _, state := range states {
		if state.Connected {
			connected++
		} else if state.Err == nil || state.RetryIn < 0 {
			t.Errorf("a lost connection without reason or time: %+v", state)
		}
	}
	if connected != 5 {
		t.Errorf("told of %d connections, want 5", connected)
	}
}

func TestTailEnds(t *testing.T) {
	failed := errors.New("disk full")
	tests := map[string]struct {
		part func(*websocket.Conn)
		want error
	}{
		"token":     {send(4001, "token expired"), ErrToken},
		"emit":      {send(0, "", text("a", 1)), failed},
		"cancelled": {func(c *websocket.Conn) { _, _, _ = c.ReadMessage() }, context.Canceled},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := play(t, test.part)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := Tail(ctx, Options{URL: s.url, OnState: func(s State) {
				if name == "cancelled" {
					cancel()
				}
			}}, func(Event) error { return failed })
			if !errors.Is(err, test.want) {
				t.Errorf("ended with %v, want %v", err, test.want)
			}
		})
	}
}

func TestTailGetsFreshTokens(t *testing.T) {
	s := play(t, send(4001, "token expired", text("a", 1)), nil, send(4001, ""), send(0, "", text("b", 2)))
	calls := 0
	enough := errors.New("enough")
	err := Tail(t.Context(), Options{URL: s.url, TokenFunc: func(ctx context.Context) (string, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the call has no deadline")
		}
		if calls++; calls == 2 {
			return "", fmt.Errorf("away: %w", ErrToken)
		}
		return fmt.Sprint("T", calls), nil
	}}, func(e Event) error {
		if number(t, e) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("ended with %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := fmt.Sprint(s.tokens); got != "[Bearer T1 Bearer T3 Bearer T3 Bearer T4]" {
		t.Errorf("tokens %s", got)
	}
}

func TestPause(t *testing.T) {
	restart := fmt.Errorf("read: %w", &websocket.CloseError{Code: 1012})
	for _, test := range []struct {
		attempt int
		lost    error
		random  float64
		want    time.Duration
	}{
		{0, restart, 0, 0},
		{0, restart, 0.75, 750 * time.Millisecond},
		{1, restart, 0, 400 * time.Millisecond},
		{0, errAnswer, 0, 200 * time.Millisecond},
		{0, errAnswer, 0.5, 150 * time.Millisecond},
		{9, errAnswer, 0, 15 * time.Second},
	} {
		if got := pause(test.attempt, test.lost, test.random); got != test.want {
			t.Errorf("%+v: waits %s", test, got)
		}
	}
}

func TestTailRefused(t *testing.T) {
	for status, want := range map[int]error{401: ErrToken, 404: errAnswer, 426: errAnswer} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		err := Tail(t.Context(), Options{URL: server.URL}, func(Event) error { return nil })
		if !errors.Is(err, want) {
			t.Errorf("answer %d: ended with %v", status, err)
		}
		server.Close()
	}
}

// TestTailOutlastsStandIn: what answers in place of the server for a while, as a
// proxy does during a deployment, does not end it, and what it says is told.
func TestTailOutlastsStandIn(t *testing.T) {
	var upgrader websocket.Upgrader
	var attempts atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := attempts.Add(1)
		if asked == 2 {
			http.Error(w, "no stream for a moment\nand more", http.StatusNotFound)
			return
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if asked > 2 {
			send(4001, "")(conn)
		}
		_ = conn.Close()
	}))
	defer server.Close()
	var said []string
	err := Tail(t.Context(), Options{URL: server.URL, OnState: func(s State) {
		if s.Err != nil {
			said = append(said, s.Err.Error())
		}
	}}, func(Event) error { return nil })
	if !errors.Is(err, ErrToken) {
		t.Errorf("ended with %v", err)
	}
	if len(said) != 2 || !strings.HasPrefix(said[1], "dial stream: answer 404: ") {
		t.Errorf("said %q", said)
	}
}

func TestTailSilentServer(t *testing.T) {
	s := play(t, func(c *websocket.Conn) { _, _, _ = c.ReadMessage() }, send(4001, ""))
	err := Tail(t.Context(), Options{URL: s.url, Silence: 50 * time.Millisecond}, func(Event) error { return nil })
	if !errors.Is(err, ErrToken) {
		t.Errorf("ended with %v, want the second connection's end", err)
	}
}

func TestTailAnswersPings(t *testing.T) {
	ponged := make(chan string, 1)
	s := play(t, func(c *websocket.Conn) {
		c.SetPongHandler(func(data string) error { ponged <- data; return nil })
		_ = c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(time.Second))
		_, _, _ = c.ReadMessage()
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Tail(ctx, Options{URL: s.url}, func(Event) error { return nil }) }()
	if got := <-ponged; got != "hello" {
		t.Errorf("pong %q", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:1": "ws://h:1/ws", "https://h/": "wss://h/ws", "ws://h/ws": "ws://h/ws", "wss://h/other?x=1": "wss://h/other?x=1",
		"ftp://h": "", "h:8080": "", "": "", "ws://": "", "://": "",
	} {
		got, err := (&Options{URL: in}).address()
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q gives %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent(3)
	for n := range 5 {
		r.add(uid(n))
	}
	for n, want := range []bool{false, false, true, true, true} {
		if r.has(uid(n)) != want {
			t.Errorf("number %d is remembered: %v", n, !want)
		}
	}
	if len(r.seen) != 3 || len(r.order) != 3 {
		t.Errorf("remembers %d and %d, want 3", len(r.seen), len(r.order))
	}
}
