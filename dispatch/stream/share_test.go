package stream

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fasthttp/websocket"
)

// openOf is how many sockets each token is counted for.
func (s *shares) openOf() map[share]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := make(map[share]int, len(s.open))
	for of, n := range s.open {
		copied[of] = n
	}
	return copied
}

func TestSocketsPerToken(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), func(c *Config) { c.SocketsPerToken = 2 })
	mine := r.token(nil)
	other := r.token(func(c *Claims) { c.Subject = "another" })
	ways := map[string]func(token string) *peer{
		"query":  func(token string) *peer { return r.dial("token="+token, nil) },
		"header": func(token string) *peer { return r.dial("", http.Header{"Authorization": {"Bearer " + token}}) },
		"first message": func(token string) *peer {
			p := r.dial("", nil)
			_ = p.conn.WriteJSON(map[string]any{"type": "auth", "payload": map[string]string{"token": token}})
			return p
		},
	}
	first, second := ways["query"](mine), ways["first message"](mine)
	first.live()
	second.live()
	for name, open := range ways {
		if reason := open(mine).wantClose(websocket.CloseTryAgainLater); !strings.Contains(reason, "with this token") {
			t.Errorf("%s: the reason is %q", name, reason)
		}
	}
	r.wantMetric("sockets", r.server.metrics.sockets, 2)
	r.wantMetric("closes", r.server.metrics.closes.WithLabelValues("1013"), float64(len(ways)))
	if got := r.server.shares.openOf(); len(got) != 1 || got[shareOf(mine)] != 2 {
		t.Errorf("counted %v, want 2 of one token", got)
	}
	ways["query"](other).live()
	r.dial("token=bad", nil).wantClose(CodeToken)
	_ = first.conn.Close()
	r.wantMetric("sockets", r.server.metrics.sockets, 2)
	third := ways["header"](mine)
	third.live()
	ways["query"](mine).wantClose(websocket.CloseTryAgainLater)
}

// TestSharesAreGivenBack opens and closes sockets of a few tokens in all ways at
// once: never more than allowed are open, and in the end none is counted.
func TestSharesAreGivenBack(t *testing.T) {
	const most, tokens, clients, rounds = 3, 2, 12, 15
	r := newRig(t, newMemoryFeed(2), func(c *Config) { c.SocketsPerToken = most })
	var names [tokens]string
	for i := range names {
		names[i] = r.token(func(c *Claims) { c.Subject = strings.Repeat("x", i) })
	}
	over := func() bool {
		for _, n := range r.server.shares.openOf() {
			if n < 1 || n > most {
				return true
			}
		}
		return false
	}
	ends := []func(*websocket.Conn){
		func(c *websocket.Conn) { _ = c.Close() },
		func(c *websocket.Conn) { _ = c.WriteMessage(websocket.CloseMessage, nil) },
		func(c *websocket.Conn) { _, _ = c.NetConn().Write([]byte("\x81\x05wrong")) },
		func(c *websocket.Conn) { _, _, _ = c.ReadMessage() },
	}
	var done sync.WaitGroup
	for i := range clients {
		done.Go(func() {
			for j := range rounds {
				conn, _, err := websocket.DefaultDialer.Dial("ws://"+r.host+"/ws?token="+names[i%tokens], nil)
				if err != nil {
					t.Error(err)
					return
				}
				ends[(i+j)%len(ends)](conn)
				if over() {
					t.Error("more are counted than allowed, or a zero")
				}
				_ = conn.Close()
			}
		})
	}
	done.Wait()
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
	if left := r.server.shares.openOf(); len(left) > 0 {
		t.Errorf("%v are counted and not open", left)
	}
}

// TestShareIsOfWhatIsSigned: the signature's last character has bits that mean
// nothing, so that a token has several texts.
func TestShareIsOfWhatIsSigned(t *testing.T) {
	token, err := Mint(secret, claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	v, err := newVerifier(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, digit := range digits {
		text := token[:len(token)-1] + string(digit)
		if _, err := v.verify(text); err != nil {
			continue
		}
		if texts++; shareOf(text) != shareOf(token) {
			t.Errorf("%q is another token than %q", text, token)
		}
	}
	if texts < 2 {
		t.Errorf("the token has %d texts: the test shows nothing", texts)
	}
	if shareOf(token) == shareOf("x"+token) {
		t.Error("two tokens are one")
	}
}
