package stream

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// goesOn stands for a connection that a table's bytes do not end.
const goesOn = 0

// badFrames are what clients send behind the handshake, and how that ends. TOKEN is
// a good one's auth message.
func badFrames(token string) map[string]struct {
	query string
	send  []byte
	// shut closes the client's half behind the bytes.
	shut bool
	want int
} {
	auth := `{"type":"auth","payload":{"token":"` + token + `"}}`
	third := len(auth) / 3
	authed := "token=" + token
	ping := masked(0x89, "are you there")
	type row = struct {
		query string
		send  []byte
		shut  bool
		want  int
	}
	return map[string]row{
		"half a header and silence":      {authed, []byte{0x81}, false, 1006},
		"half a frame and silence":       {authed, masked(0x81, "hello")[:8], false, 1006},
		"half a frame and the end":       {authed, masked(0x81, "hello")[:8], true, 1006},
		"half a close frame and the end": {authed, closing("\x03\xe8bye")[:7], true, 1006},
		"nothing and the end":            {authed, nil, true, 1006},
		"a promise and silence":          {authed, promised(0x81, readLimit), false, 1006},

		"a token in three fragments, pings between": {"", join(masked(0x01, auth[:third]), ping,
			masked(0x00, auth[third:2*third]), ping, masked(0x80, auth[2*third:])), false, goesOn},
		"a token in fragments of one byte":    {"", fragments(auth), false, goesOn},
		"an empty fragment at the end":        {"", join(masked(0x01, auth), masked(0x80, "")), false, goesOn},
		"a continuation of nothing":           {authed, masked(0x80, "x"), false, 1002},
		"a continuation behind a message":     {authed, join(masked(0x81, "x"), masked(0x80, "x")), false, 1002},
		"a message within a message":          {authed, join(masked(0x01, "x"), masked(0x81, "x")), false, 1002},
		"a fragment within a message":         {authed, join(masked(0x01, "x"), masked(0x02, "x")), false, 1002},
		"a frame that is not masked":          {authed, []byte("\x81\x05hello"), false, 1002},
		"a ping that is not masked":           {authed, []byte("\x89\x00"), false, 1002},
		"reserved bit 1":                      {authed, masked(0xc1, "x"), false, 1002},
		"reserved bit 2":                      {authed, masked(0xa1, "x"), false, 1002},
		"reserved bit 3":                      {authed, masked(0x91, "x"), false, 1002},
		"reserved bit in a ping":              {authed, masked(0xc9, "x"), false, 1002},
		"reserved opcode of data":             {authed, masked(0x83, "x"), false, 1002},
		"last reserved opcode of data":        {authed, masked(0x87, "x"), false, 1002},
		"reserved opcode of control":          {authed, masked(0x8b, "x"), false, 1002},
		"last reserved opcode of control":     {authed, masked(0x8f, "x"), false, 1002},
		"a ping in fragments":                 {authed, masked(0x09, "x"), false, 1002},
		"a close frame in fragments":          {authed, masked(0x08, ""), false, 1002},
		"a ping of 126 bytes":                 {authed, masked(0x89, strings.Repeat("x", 126)), false, 1002},
		"a close frame of 126 bytes":          {authed, closing("\x03\xe8" + strings.Repeat("x", 124)), false, 1002},
		"a ping of 2^40 bytes":                {authed, promised(0x89, 1<<40), false, 1002},
		"a ping of 125 bytes":                 {authed, masked(0x89, strings.Repeat("x", 125)), false, goesOn},
		"a pong that nobody asked for":        {authed, masked(0x8a, "x"), false, goesOn},
		"a message of 2^64-1 bytes":           {authed, promised(0x81, 1<<64-1), false, 1002},
		"a message of 2^63 bytes":             {authed, promised(0x81, 1<<63), false, 1002},
		"a message of 2^63-1 bytes":           {authed, promised(0x81, 1<<63-1), false, 1009},
		"a message of 2^40 bytes":             {authed, promised(0x82, 1<<40), false, 1009},
		"a message of 8 KiB and a byte":       {authed, masked(0x81, strings.Repeat("x", readLimit+1)), false, 1009},
		"a message of 8 KiB":                  {authed, masked(0x81, strings.Repeat("x", readLimit)), false, goesOn},
		"a message of a MiB":                  {authed, masked(0x81, strings.Repeat("x", 1<<20)), false, 1009},
		"fragments that sum up to too much":   {authed, join(masked(0x01, "x"), repeat(masked(0x00, strings.Repeat("x", 100)), 100)), false, 1009},
		"fragments that are empty":            {authed, join(masked(0x01, ""), repeat(masked(0x00, ""), 2000)), false, 1009},
		"text that is not UTF-8":              {authed, masked(0x81, "\"\xff\""), false, 1007},
		"text that is half a character":       {authed, masked(0x81, "\xe2\x82"), false, 1007},
		"text in fragments that is not UTF-8": {authed, join(masked(0x01, "\xe2"), masked(0x80, "x")), false, 1007},
		"a character over two fragments":      {authed, join(masked(0x01, "\xe2"), masked(0x80, "\x82\xac")), false, goesOn},
		"binary that is not UTF-8":            {authed, masked(0x82, "\xff"), false, goesOn},
		"a close frame":                       {authed, closing(""), false, 1005},
		"a close frame with a code":           {authed, closing("\x03\xe8bye"), false, 1000},
		"a close frame of an application":     {authed, closing("\x0f\xa0"), false, 4000},
		"a close frame of one byte":           {authed, closing("\x03"), false, 1002},
		"a close frame with code 0":           {authed, closing("\x00\x00"), false, 1002},
		"a close frame with code 999":         {authed, closing("\x03\xe7"), false, 1002},
		"a close frame with code 1005":        {authed, closing("\x03\xed"), false, 1002},
		"a close frame with code 1006":        {authed, closing("\x03\xee"), false, 1002},
		"a close frame with code 1015":        {authed, closing("\x03\xf7"), false, 1002},
		"a close frame with code 5000":        {authed, closing("\x13\x88"), false, 1002},
		"a close frame that is not UTF-8":     {authed, closing("\x03\xe8\xff"), false, 1007},
		"a close frame within a message":      {authed, join(masked(0x01, "x"), closing("\x03\xe8")), false, 1000},
		"garbage":                             {authed, []byte("GET / HTTP/1.1\r\n\r\n"), false, 1002},
		"zeros":                               {authed, make([]byte, 4096), false, 1002},

		"a token in the second message": {"", join(masked(0x81, `{"type":"hello"}`), masked(0x81, auth)), false, CodeToken},
		"a token in the third message":  {"", join(masked(0x81, `{}`), masked(0x81, `{}`), masked(0x81, auth)), false, CodeToken},
		"a token in a binary message":   {"", masked(0x82, auth), false, CodeToken},
		"a broken frame before a token": {"", join([]byte("\x81\x05hello"), masked(0x81, auth)), false, 1002},
		"pings before a token":          {"", join(ping, ping, masked(0x81, auth)), false, goesOn},
		"auth twice":                    {"", join(masked(0x81, auth), masked(0x81, auth)), false, goesOn},
		"auth behind a token":           {authed, masked(0x81, auth), false, goesOn},
		"silence before a token":        {"", nil, false, CodeToken},
		"half a token and silence":      {"", masked(0x81, auth)[:40], false, CodeToken},
		"slow fragments before a token": {"", masked(0x01, auth[:third]), false, CodeToken},
	}
}

func fragments(text string) []byte {
	b := masked(0x01, text[:1])
	for i := 1; i < len(text)-1; i++ {
		b = append(b, masked(0x00, text[i:i+1])...)
	}
	return append(b, masked(0x80, text[len(text)-1:])...)
}

// TestBadFrames: whatever a client sends, it gets the right close code, or goes on,
// and a well-behaved socket beside it gets every event.
func TestBadFrames(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), func(c *Config) {
		c.PingInterval, c.PongTimeout = 500*time.Millisecond, time.Second
		c.AuthTimeout, c.CloseTimeout = time.Second, 100*time.Millisecond
	})
	beside := r.neighbour()
	t.Run("all", func(t *testing.T) { eachBadFrame(t, r, beside) })
	r.wantMetric("sockets", r.server.metrics.sockets, 1)
	r.wantMetric("closes with 4000", r.server.metrics.closes.WithLabelValues("other"), 1)
	beside.check(t)
}

func eachBadFrame(t *testing.T, r *rig, beside *neighbour) {
	for name, test := range badFrames(r.token(nil)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := r.upgraded(test.query)
			c.t = t
			c.send(test.send)
			if test.shut {
				_ = c.conn.(*net.TCPConn).CloseWrite()
			}
			beside.check(t)
			if test.want != goesOn {
				if got := c.ended(); got != test.want {
					t.Errorf("ended with %d, want %d", got, test.want)
				}
				return
			}
			c.await("stream:position")
			c.send(masked(0x81, `{"type":"marker"}`))
			c.await("error")
			c.send(closing("\x03\xe8"))
			if got := c.ended(); got != websocket.CloseNormalClosure {
				t.Errorf("it goes on, but then ended with %d", got)
			}
		})
	}
}

// TestBadFrameWhileEventsFlow: the close frame stands behind whole frames, and is the
// last.
func TestBadFrameWhileEventsFlow(t *testing.T) {
	r := newRig(t, newMemoryFeed(2), func(c *Config) { c.CloseTimeout = 100 * time.Millisecond })
	beside := r.neighbour()
	for i := range 20 {
		since := []string{"", "&since=0"}[i%2]
		c := r.upgraded("token=" + r.token(nil) + since)
		c.await("stream:position")
		filled := make(chan struct{})
		go func() {
			defer close(filled)
			for range 20 {
				r.feed.fill(10)
				time.Sleep(time.Millisecond)
			}
		}()
		c.send([]byte("\x81\x05hello"))
		if got := c.ended(); got != websocket.CloseProtocolError {
			t.Errorf("ended with %d", got)
		}
		<-filled
		beside.skip(200)
	}
	beside.check(t)
}

// TestTokenWithTheRequest: a client need not wait for the answer before it sends.
func TestTokenWithTheRequest(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	auth := masked(0x81, `{"type":"auth","payload":{"token":"`+r.token(nil)+`"}}`)
	r.upgraded("", auth...).await("stream:position")
	c := r.upgraded("", auth[:20]...)
	c.send(auth[20:])
	c.await("stream:position")
}

// TestBadHandshake: requests that are no upgrade get an answer of HTTP.
func TestBadHandshake(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	beside := r.neighbour()
	good := handshake("token=" + r.token(nil))
	without := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	tests := map[string]struct {
		request string
		want    int
	}{
		"good":                  {good, 101},
		"HTTP/1.0":              {without("HTTP/1.1", "HTTP/1.0"), 426},
		"no key":                {without("Sec-WebSocket-Key", "X-Key"), 400},
		"an empty key":          {without("AQIDBAUGBwgJCgsMDQ4PEA==", ""), 400},
		"no version":            {without("Sec-WebSocket-Version", "X-Version"), 426},
		"version 8":             {without("Version: 13", "Version: 8"), 426},
		"no upgrade":            {without("Upgrade: websocket", "X-Upgrade: websocket"), 426},
		"another protocol":      {without("Upgrade: websocket", "Upgrade: h2c"), 426},
		"POST":                  {without("GET", "POST"), 405},
		"a body":                {without("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello"), 400},
		"a body in chunks":      {without("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 400},
		"a header without end":  {"GET /ws HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10), 431},
		"an extension, refused": {without("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x-of-mine\r\n\r\n"), 101},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := r.connect()
			c.t = t
			c.send([]byte(test.request))
			got := c.answer()
			if got.StatusCode != test.want {
				t.Fatalf("answered %d, want %d", got.StatusCode, test.want)
			}
			if test.want == http.StatusUpgradeRequired && got.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("does not tell the version: %v", got.Header)
			}
			if test.want == http.StatusSwitchingProtocols {
				if got.Header.Get("Sec-WebSocket-Extensions") != "" {
					t.Errorf("agreed on an extension: %v", got.Header)
				}
				c.await("stream:position")
			}
		})
	}
	beside.check(t)
}

// TestSlowHandshake: a request that does not end is given up, and an upgraded
// socket is not held to that time.
func TestSlowHandshake(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	beside := r.neighbour()
	c := r.connect()
	began := time.Now()
	for _, b := range []byte(handshake("")) {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(frontTimeout / 50)
	}
	if got := c.ended(); got != websocket.CloseAbnormalClosure {
		t.Errorf("ended with %d", got)
	}
	if took := time.Since(began); took > 5*frontTimeout {
		t.Errorf("it took %s", took)
	}
	beside.check(t)
}

// TestFloods: a client that sends without end what asks for an answer, or for none,
// is slowed down and gets few answers; nothing piles up, and nobody else waits.
func TestFloods(t *testing.T) {
	r := newRig(t, newMemoryFeed(1), nil)
	beside := r.neighbour()
	for name, frame := range map[string][]byte{
		"pings":    masked(0x89, strings.Repeat("x", 125)),
		"pongs":    masked(0x8a, strings.Repeat("x", 125)),
		"messages": masked(0x81, `{"type":"flood"}`),
		"auth":     masked(0x81, `{"type":"auth","payload":{"token":"x"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			c := r.upgraded("token=" + r.token(nil))
			c.t = t
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const lasts = 1500 * time.Millisecond
			_ = c.conn.SetDeadline(time.Now().Add(lasts))
			sent := make(chan int)
			go func() {
				n := 0
				for {
					written, err := c.conn.Write(bytes.Repeat(frame, 100))
					if n += written; err != nil {
						sent <- n
						return
					}
				}
			}()
			answers := 0
			for {
				if _, _, err := c.frame(); errors.Is(err, os.ErrDeadlineExceeded) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				answers++
			}
			// Two windows or three, and the position.
			if n := <-sent; answers > 3*talkMessages+1 {
				t.Errorf("%d answers to %d bytes in %s", answers, n, lasts)
			}
			beside.check(t)
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			_ = c.conn.Close()
		})
	}
	r.wantMetric("sockets", r.server.metrics.sockets, 1)
}

// TestFloodEnds: who goes on flooding is closed, rather than read for minutes.
func TestFloodEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, newMemoryFeed(1), nil)
	c := r.upgraded("token=" + r.token(nil))
	go func() {
		for frame := masked(0x8a, "x"); ; {
			if _, err := c.conn.Write(frame); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if got := c.ended(); got != websocket.ClosePolicyViolation {
		t.Errorf("ended with %d, want %d", got, websocket.ClosePolicyViolation)
	}
	r.wantMetric("sockets", r.server.metrics.sockets, 0)
}

// TestPromisesAreNotAllocated: what a header promises takes no memory before it is
// there.
func TestPromisesAreNotAllocated(t *testing.T) {
	const rounds = 100
	for _, length := range []uint64{readLimit, 1 << 40, 1 << 63} {
		input := promised(0x81, length)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			frames := clientFrames{from: bytes.NewReader(input)}
			if _, _, err := frames.next(); err == nil {
				t.Fatal("there was a message")
			}
		}
		runtime.ReadMemStats(&after)
		if bytes := (after.TotalAlloc - before.TotalAlloc) / rounds; bytes > readLimit/2 {
			t.Errorf("%d promised: %d bytes allocated", length, bytes)
		}
	}
}
