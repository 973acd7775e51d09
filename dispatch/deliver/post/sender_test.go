package post

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestSendCarriesTheEvent(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var got *http.Request
		var body []byte
		e := newEndpoint(t, http2, func(w http.ResponseWriter, r *http.Request) {
			got, body = r, must(io.ReadAll(r.Body))
			w.WriteHeader(http.StatusNoContent)
		})
		s := newSender(t, e, func(c *Config) {
			c.UserAgent = "spillway/1.2.3"
			c.Headers = map[string]string{"authorization": "Bearer x"}
		})
		before := time.Now().Unix()
		result := s.Send(context.Background(), testID, []byte(testBody))
		if result.Outcome != Delivered || result.Code != 204 || result.Reason != "" || result.Took <= 0 {
			t.Fatalf("result %+v", result)
		}
		if want := map[bool]int{false: 1, true: 2}[http2]; got.ProtoMajor != want {
			t.Errorf("HTTP/%d, want %d", got.ProtoMajor, want)
		}
		if got.Method != "POST" || got.URL.RequestURI() != "/hook?token=t0psecret" || string(body) != testBody {
			t.Errorf("got %s %s %s", got.Method, got.URL, body)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "User-Agent": "spillway/1.2.3",
			"Authorization": "Bearer x", "Webhook-Id": testID,
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
			}
		}
		for _, name := range []string{"Idempotency-Key", "Accept-Encoding"} {
			if got.Header.Values(name) != nil {
				t.Errorf("%s was sent", name)
			}
		}
		var at int64
		if _, err := fmt.Sscan(got.Header.Get("Webhook-Timestamp"), &at); err != nil || at < before || at > time.Now().Unix() {
			t.Errorf("webhook-timestamp %q is not now", got.Header.Get("Webhook-Timestamp"))
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestStatusDecides(t *testing.T) {
	var code atomic.Int64
	var wait atomic.Value
	var others atomic.Int64
	e := newEndpoint(t, false, func(w http.ResponseWriter, r *http.Request) {
		discard(r)
		if r.URL.Path != "/hook" {
			others.Add(1)
		}
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Retry-After", wait.Load().(string))
		w.WriteHeader(int(code.Load()))
		fmt.Fprint(w, "internal: the password is 123")
	})
	s := newSender(t, e, nil)
	for _, c := range []struct {
		code    int
		outcome Outcome
		reason  string
	}{
		{200, Delivered, ""}, {201, Delivered, ""}, {202, Delivered, ""}, {204, Delivered, ""}, {299, Delivered, ""},
		{301, Refused, "answered 301 Moved Permanently: redirects are not followed"},
		{302, Refused, "answered 302 Found: redirects are not followed"},
		{304, Refused, "answered 304 Not Modified: redirects are not followed"},
		{307, Refused, "answered 307 Temporary Redirect: redirects are not followed"},
		{308, Refused, "answered 308 Permanent Redirect: redirects are not followed"},
		{400, Refused, "answered 400 Bad Request"},
		{401, Refused, "answered 401 Unauthorized"},
		{403, Refused, "answered 403 Forbidden"},
		{404, Refused, "answered 404 Not Found"},
		{408, Retry, "answered 408 Request Timeout"},
		{410, Gone, "answered 410 Gone"},
		{413, Refused, "answered 413 Request Entity Too Large"},
		{422, Refused, "answered 422 Unprocessable Entity"},
		{425, Retry, "answered 425 Too Early"},
		{429, Retry, "answered 429 Too Many Requests"},
		{499, Refused, "answered 499"},
		{500, Retry, "answered 500 Internal Server Error"},
		{502, Retry, "answered 502 Bad Gateway"},
		{503, Retry, "answered 503 Service Unavailable"},
		{599, Retry, "answered 599"},
	} {
		code.Store(int64(c.code))
		wait.Store("7")
		result := s.Send(context.Background(), testID, []byte(testBody))
		after := time.Duration(0)
		if c.outcome == Retry {
			after = 7 * time.Second
		}
		if result.Outcome != c.outcome || result.Code != c.code || result.Reason != c.reason || result.RetryAfter != after {
			t.Errorf("%d: %+v", c.code, result)
		}
	}
	if others.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 120 ": 2 * time.Minute, "3600": time.Hour, "3601": time.Hour,
		"4294967295": time.Hour, "99999999999999999999999": time.Hour,
		"-5": 0, "1.5": 0, "soon": 0, "12 s": 0, "0x10": 0,
		"Sun, 01 Mar 2026 12:00:30 GMT":  30 * time.Second,
		"Sun, 01 Mar 2026 11:59:00 GMT":  0,
		"Tue, 01 Mar 2033 12:00:00 GMT":  time.Hour,
		"Sunday, 01-Mar-26 12:01:00 GMT": time.Minute,
		"Sun Mar  1 12:00:05 2026":       5 * time.Second,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "1", "99999999999999999999", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", "Sun Mar  1 12:00:05 2026"} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, now); got < 0 || got > MaxRetryAfter {
			t.Errorf("%q: %s", value, got)
		}
	})
}

// TestBrokenAnswers has endpoints that do not speak HTTP as they should.
func TestBrokenAnswers(t *testing.T) {
	write := func(text string) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			readRequest(c)
			fmt.Fprint(c, text)
		}
	}
	for name, c := range map[string]struct {
		serve   func(*net.TCPConn)
		outcome Outcome
		code    int
		reason  string
	}{
		"closed at once":          {func(*net.TCPConn) {}, Retry, 0, ""},
		"closed after request":    {write(""), Retry, 0, "connection closed before an answer"},
		"closed within status":    {write("HTTP/1.1 20"), Retry, 0, "no valid HTTP answer"},
		"closed within header":    {write("HTTP/1.1 200 OK\r\nContent-Le"), Retry, 0, "no valid HTTP answer"},
		"closed within body":      {write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), Delivered, 200, ""},
		"closed within 500":       {write("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nabc"), Retry, 500, "answered 500 Internal Server Error"},
		"broken chunks":           {write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Delivered, 200, ""},
		"no HTTP":                 {write("the password is 123\r\n\r\n"), Retry, 0, "no valid HTTP answer"},
		"status of its own words": {write("HTTP/1.1 400 the-password-is-123\r\nContent-Length: 0\r\n\r\n"), Refused, 400, "answered 400 Bad Request"},
		"huge header":             {write("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), Retry, 0, ""},
		"early hints":             {write("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Delivered, 200, ""},
		"endless hints":           {write(strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 1000)+"\r\n\r\n", 1000)), Retry, 0, ""},
		"switches protocols":      {write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), Refused, 101, "answered 101 Switching Protocols"},
		"reset": {func(c *net.TCPConn) {
			readRequest(c)
			_ = c.SetLinger(0)
		}, Retry, 0, "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			url, connections := rawEndpoint(t, c.serve)
			s := senderFor(t, url, loopback)
			result := s.Send(context.Background(), testID, []byte(testBody))
			if result.Outcome != c.outcome || result.Code != c.code || c.reason != "" && result.Reason != c.reason {
				t.Errorf("%+v", result)
			}
			if result.Outcome != Delivered && result.Reason == "" || strings.Contains(result.Reason, "password") {
				t.Errorf("reason %q", result.Reason)
			}
			if connections.Load() != 1 {
				t.Errorf("%d connections, want 1", connections.Load())
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	listener.Close()
	s := senderFor(t, "http://"+listener.Addr().String(), loopback)
	if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Retry || result.Reason != "connection refused" {
		t.Errorf("%+v", result)
	}
}

func TestSlowEndpoints(t *testing.T) {
	release := make(chan struct{})
	var path atomic.Value
	e := newEndpoint(t, false, func(w http.ResponseWriter, r *http.Request) {
		discard(r)
		if path.Load() == "hang" {
			<-release
			return
		}
		w.WriteHeader(http.StatusOK)
		for range 100 { // a body that never ends on its own
			if _, err := fmt.Fprint(w, "x"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-release:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() { close(release) })

	path.Store("hang")
	s := newSender(t, e, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	result := s.Send(context.Background(), testID, []byte(testBody))
	if result.Outcome != Retry || result.Code != 0 || result.Reason != "timed out" || result.Took < 300*time.Millisecond || result.Took > 5*time.Second {
		t.Errorf("hang: %+v", result)
	}

	path.Store("trickle")
	result = s.Send(context.Background(), testID, []byte(testBody))
	if result.Outcome != Delivered {
		t.Errorf("trickle cut by the timeout: %+v", result)
	}
	start := time.Now()
	result = newSender(t, e, nil).Send(context.Background(), testID, []byte(testBody))
	if took := time.Since(start); result.Outcome != Delivered || took > drainTime+4*time.Second {
		t.Errorf("trickle cut by the time to drain: %+v after %s", result, took)
	}
}

// TestSlowToConnect: connecting takes half of the timeout at most, and leaves nothing.
func TestSlowToConnect(t *testing.T) {
	timeout := func(c *Config) { c.Timeout = 2 * time.Second }
	silent, _ := rawEndpoint(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	handshake := senderFor(t, strings.Replace(silent, "http:", "https:", 1), timeout)
	lookup := senderFor(t, "https://example.com", timeout)
	lookup.dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for want, s := range map[string]*Sender{"timed out": handshake, "name lookup failed": lookup} {
		result := s.Send(context.Background(), testID, []byte(testBody))
		if result.Outcome != Retry || result.Reason != want || result.Took < time.Second || result.Took >= 2*time.Second {
			t.Errorf("want %s: %+v", want, result)
		}
	}
}

func TestTheCallerStops(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	e := newEndpoint(t, false, func(_ http.ResponseWriter, r *http.Request) {
		discard(r)
		close(asked)
		<-release
	})
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	if result := newSender(t, e, nil).Send(ctx, testID, []byte(testBody)); result.Outcome != Stopped || result.Code != 0 {
		t.Errorf("%+v", result)
	}
}

// TestEndlessBody: an answer of 1 GiB, its length told or not, takes next to no memory,
// and is not read.
func TestEndlessBody(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, length := range []string{"1073741824", ""} {
			var sent atomic.Int64
			ended := make(chan struct{})
			piece := make([]byte, 64<<10)
			e := newEndpoint(t, http2, func(w http.ResponseWriter, r *http.Request) {
				defer close(ended)
				discard(r)
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for range (1 << 30) / len(piece) {
					n, err := w.Write(piece)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			s := newSender(t, e, nil)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			result := s.Send(context.Background(), testID, []byte(testBody))
			<-ended
			runtime.ReadMemStats(&after)
			if result.Outcome != Delivered {
				t.Errorf("%+v", result)
			}
			if sent.Load() > 64<<20 {
				t.Errorf("HTTP/2 %v, length %q: %d MiB went out before it was cut", http2, length, sent.Load()>>20)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
				t.Errorf("HTTP/2 %v, length %q: %d MiB were allocated", http2, length, took>>20)
			}
		}
	}
}

// TestConnectionsAreKept: many deliveries at the same time take no more connections
// than the concurrency, whatever they are answered.
func TestConnectionsAreKept(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var answered atomic.Int64
		e := newEndpoint(t, http2, func(w http.ResponseWriter, r *http.Request) {
			discard(r)
			if answered.Add(1)%3 == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_, _ = w.Write(bytes.Repeat([]byte("x"), int(answered.Load())%5000))
		})
		s := newSender(t, e, func(c *Config) { c.Concurrency = 4 })
		var group sync.WaitGroup
		for range 16 { // some wait for a connection
			group.Go(func() {
				for range 25 {
					if result := s.Send(context.Background(), testID, []byte(testBody)); result.Code != 200 && result.Code != 503 {
						t.Errorf("%+v", result)
					}
				}
			})
		}
		group.Wait()
		if answered.Load() != 400 || e.connections.Load() > 4 {
			t.Errorf("HTTP/2 %v: %d deliveries over %d connections", http2, answered.Load(), e.connections.Load())
		}
	}
}

// TestClosedIdleConnection: an endpoint that closes a connection just when it is used
// again costs no failed delivery.
func TestClosedIdleConnection(t *testing.T) {
	var connections *atomic.Int64
	url, connections := rawEndpoint(t, func(c *net.TCPConn) {
		readRequest(c)
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if connections.Load() == 1 {
			readRequest(c) // and it is closed without an answer
		}
	})
	s := senderFor(t, url, loopback)
	for range 2 {
		if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Delivered {
			t.Errorf("%+v", result)
		}
	}
	if connections.Load() != 2 {
		t.Errorf("%d connections, want 2", connections.Load())
	}
}
