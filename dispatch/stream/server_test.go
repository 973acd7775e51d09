package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"
)

func TestTokenWays(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), nil)
	token := r.token(nil)
	peers := map[string]*peer{
		"query":  r.dial("token="+token, nil),
		"header": r.dial("", http.Header{"Authorization": {"bearer " + token}}),
		"first message": func() *peer {
			p := r.dial("", nil)
			text := `{"type":"auth","payload":{"token":"` + token + `"}}`
			if err := p.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
			return p
		}(),
	}
	for _, p := range peers {
		p.live()
	}
	want := r.feed.add(1, "message:new", `{"a":1}`)
	for name, p := range peers {
		if got := p.event(); got.UID != want.UID || got.Type != "message:new" || string(got.Payload) != `{"a":1}` {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestTokenRefused(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), func(c *Config) { c.AuthTimeout = 200 * time.Millisecond })
	expired, err := Mint(secret, claims(func(c *Claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) }))
	if err != nil {
		t.Fatal(err)
	}
	other, _ := Mint("another secret", claims(nil))
	tests := []struct{ name, query, first string }{
		{"expired", "token=" + expired, ""},
		{"other key", "token=" + other, ""},
		{"nonsense", "token=x", ""},
		{"too late", "", ""},
		{"first message is no auth", "", `{"type":"hello"}`},
		{"first message has a bad token", "", `{"type":"auth","payload":{"token":"` + other + `"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := r.dial(test.query, nil)
			if test.first != "" {
				_ = p.conn.WriteMessage(websocket.TextMessage, []byte(test.first))
			}
			p.t = t
			// The clients tell by this reason that the token itself may be good.
			if reason := p.wantClose(CodeToken); (reason == "no token came in time") != (test.name == "too late") {
				t.Errorf("reason %q", reason)
			}
		})
	}
	r.wantMetric("closes", r.server.metrics.closes.WithLabelValues("4001"), float64(len(tests)))
}

func TestTokenExpiresWhileConnected(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), nil)
	token := r.token(func(c *Claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(2 * time.Second)) })
	p := r.dial("token="+token, nil)
	p.live()
	p.wantClose(CodeToken)
}

func TestReload(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	if err := r.server.Reload("", ""); err == nil {
		t.Error("reload took no key at all")
	}
	r.open("").live()
	if err := r.server.Reload("the next secret", ""); err != nil {
		t.Fatal(err)
	}
	old := r.token(nil)
	r.open("").wantClose(CodeToken)
	r.dial("since=0&token="+old, nil).wantClose(CodeToken)
	late := r.dial("", nil)
	_ = late.conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"auth","payload":{"token":"`+old+`"}}`))
	late.wantClose(CodeToken)
	token, _ := Mint("the next secret", claims(nil))
	r.dial("token="+token, nil).live()
}

func TestFiltersNarrow(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), nil)
	limited := r.token(func(c *Claims) {
		c.Events = []string{"message:*", "webhook:calls"}
		c.PhoneNumberIDs = []string{"1", "2"}
		c.WABAIDs = []string{"w"}
	})
	all := r.dial("token="+limited, nil)
	one := r.dial("token="+limited+"&events=message:new,contact:new&phone_number_id=2,3", nil)
	all.live()
	one.live()
	add := func(kind, payload string) string { return r.feed.add(0, kind, payload).UID.String() }
	wanted := []string{
		add("message:new", `{"phone_number_id":"1","waba_id":"w"}`),
		add("message:new", `{"phone_number_id":"2","waba_id":"w"}`),
		add("message:status", `{"phone_number_id":"2","waba_id":"w"}`),
		add("webhook:calls", `{"waba_id":"w","value":{"metadata":{"phone_number_id":"2"}}}`),
	}
	add("message:new", `{"phone_number_id":"3","waba_id":"w"}`)
	add("message:new", `{"phone_number_id":"2","waba_id":"other"}`)
	add("message:new", `{"waba_id":"w"}`)
	add("contact:new", `{"phone_number_id":"2","waba_id":"w"}`)
	add("webhook:flows", `{"phone_number_id":"2","waba_id":"w"}`)
	last := add("message:new", `{"phone_number_id":"2","waba_id":"w","last":true}`)

	read := func(p *peer) (uids []string) {
		for {
			uid := p.event().UID.String()
			if uid == last {
				return uids
			}
			uids = append(uids, uid)
		}
	}
	if got := read(all); !slices.Equal(got, wanted) {
		t.Errorf("claims alone let through %v, want %v", got, wanted)
	}
	if got := read(one); !slices.Equal(got, wanted[1:2]) {
		t.Errorf("claims and query let through %v, want %v", got, wanted[1:2])
	}
}

func TestHTTPAnswers(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), func(c *Config) {
		c.Sockets = 1
		c.AllowedOrigins = []string{"https://app.example.com"}
	})
	get := func(method string, header http.Header) *http.Response {
		request, _ := http.NewRequest(method, "http://"+r.host+"/ws", nil)
		request.Header = header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response
	}
	defer http.DefaultClient.CloseIdleConnections()
	upgrade := func(origin string) http.Header {
		h := http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AQIDBAUGBwgJCgsMDQ4PEA=="},
		}
		if origin != "" {
			h.Set("Origin", origin)
		}
		return h
	}
	if got := get("GET", nil); got.StatusCode != 426 || got.Header.Get("Upgrade") != "websocket" {
		t.Errorf("plain GET: %d %v", got.StatusCode, got.Header)
	}
	if got := get("POST", nil); got.StatusCode != 405 || got.Header.Get("Allow") != "GET" {
		t.Errorf("POST: %d %v", got.StatusCode, got.Header)
	}
	if got := get("GET", upgrade("https://evil.example.com")); got.StatusCode != 403 {
		t.Errorf("foreign origin: %d", got.StatusCode)
	}
	first := r.dial("", http.Header{"Origin": {"https://APP.example.com"}, "Authorization": {"Bearer " + r.token(nil)}})
	first.live()
	r.wantMetric("sockets", r.server.metrics.sockets, 1)
	if got := get("GET", upgrade("")); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", got.StatusCode, got.Header)
	}
	_ = first.conn.Close()
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
	r.open("").live()
}

func TestClientMessages(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	p := r.open("")
	p.live()
	for _, text := range []string{`{`, `[]`, `{"type":"subscribe"}`, `{"type":"auth","payload":{"token":"again"}}`} {
		_ = p.conn.WriteMessage(websocket.TextMessage, []byte(text))
		if m := p.next(); m.Type != "error" || !bytes.Contains(m.Payload, []byte(`"message":"`)) {
			t.Errorf("%s: answer %+v", text, m)
		}
	}
	_ = p.conn.WriteMessage(websocket.BinaryMessage, []byte{1, 2})
	if m := p.next(); m.Type != "error" {
		t.Errorf("binary: answer %+v", m)
	}
	want := r.feed.add(0, "message:new", `{}`)
	if got := p.event(); got.UID != want.UID {
		t.Errorf("after errors: %+v", got)
	}
	_ = p.conn.WriteMessage(websocket.TextMessage, make([]byte, readLimit+1))
	p.wantClose(websocket.CloseMessageTooBig)
}

// TestUnknownTypes: a socket that asks for what no event can be is told so, and gets
// the rest.
func TestUnknownTypes(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	before := r.feed.add(0, "message:new", `{}`)
	for _, since := range []string{"", "&since=0"} {
		p := r.open("events=nope,message:new,%22%ff" + since)
		m := p.next()
		for _, want := range []string{`\"nope\"`, `\\xff`, "webhook:FIELD", "message:status", "contact:*"} {
			if m.Type != "error" || !bytes.Contains(m.Payload, []byte(want)) {
				t.Errorf("the first message is %+v, want one that names %s", m, want)
			}
		}
		if since != "" && p.event().UID != before.UID {
			t.Error("the event that was asked for did not come")
		}
		p.live()
		want := r.feed.add(0, "message:new", `{}`)
		if got := p.event(); got.UID != want.UID {
			t.Errorf("got %+v, want the event that was asked for", got)
		}
		before = want
		r.feed.trim(0, 1)
	}
	r.open("events=message:*,contact:new,webhook:anything,*").live()
}

func TestPingAndSilence(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), func(c *Config) {
		c.PingInterval = 50 * time.Millisecond
		c.PongTimeout = 150 * time.Millisecond
	})
	p := r.open("")
	pings := 0
	answer := p.conn.PingHandler()
	p.conn.SetPingHandler(func(data string) error {
		if pings++; pings == 5 {
			r.feed.add(0, "message:new", `{}`)
		}
		return answer(data)
	})
	p.event()
	if pings < 5 {
		t.Errorf("saw %d pings, want 5", pings)
	}
	// A peer that reads but never answers is given up.
	p.conn.SetPingHandler(func(string) error { return nil })
	for {
		if _, _, err := p.conn.ReadMessage(); err != nil {
			break
		}
	}
	r.wantMetric("closes", r.server.metrics.closes.WithLabelValues("1006"), 1)
}

func TestPositions(t *testing.T) {
	r := newRig(t, newMemoryFeed(3), func(c *Config) { c.PositionInterval = 30 * time.Millisecond })
	quiet := r.open("events=contact:new")
	first := quiet.live()
	unseen := r.feed.fill(10)
	var position message
	for position.ID = first.ID; position.ID == first.ID; {
		position = quiet.live()
	}
	later := r.feed.fill(10)
	// From the position on only what came later; the first brings both.
	r.open("since=" + position.ID).events(later)
	r.open("since=" + first.ID).events(append(unseen, later...))
}

func TestShutdown(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	peers := []*peer{r.open(""), r.open("since=0"), r.dial("", nil)}
	peers[0].live()
	r.wantMetric("sockets", r.server.metrics.sockets, 3)
	closed := make(chan error)
	for range 2 {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			closed <- r.server.Close(ctx)
		}()
	}
	for _, p := range peers {
		p.wantClose(websocket.CloseServiceRestart)
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Errorf("close: %v", err)
		}
	}
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
	if _, response, err := websocket.DefaultDialer.Dial("ws://"+r.host+"/ws", nil); err == nil || response.StatusCode != 503 {
		t.Errorf("a socket opened after the close: %v", err)
	}
}

func TestShutdownCutsStuckSockets(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), func(c *Config) { c.SendBuffer = 4096 })
	stuck := r.open("")
	stuck.live()
	for range 64 {
		r.feed.add(0, "message:new", `{"x":"`+strings.Repeat("x", 256<<10)+`"}`)
	}
	r.wantMetric("overruns", r.server.metrics.overruns, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := r.server.Close(ctx); err == nil {
		t.Error("close said that it ended in time")
	}
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
}

// TestManySockets is the common case: many listeners, few filters, all of them
// get everything in order.
func TestManySockets(t *testing.T) {
	r := newRig(t, newMemoryFeed(4), nil)
	const sockets, rounds = 40, 50
	peers := make([]*peer, sockets)
	for i := range peers {
		peers[i] = r.open(fmt.Sprintf("phone_number_id=p%d", i%2))
		peers[i].live()
	}
	var done sync.WaitGroup
	for i, p := range peers {
		done.Go(func() {
			for want := i % 2; want < rounds*20; want += 2 {
				var got struct{ N int }
				_, data, err := p.conn.ReadMessage()
				if err != nil {
					t.Errorf("socket %d: %v", i, err)
					return
				}
				var m message
				if json.Unmarshal(data, &m) != nil || json.Unmarshal(m.Payload, &got) != nil || got.N%20 != want%20 {
					t.Errorf("socket %d: got %s, want number %d", i, data, want%20)
					return
				}
			}
		})
	}
	for range rounds {
		r.feed.fill(20)
	}
	done.Wait()
	r.wantMetric("frames", r.server.metrics.frames, sockets*rounds*20/2)
}
