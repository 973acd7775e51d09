package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAnswers(t *testing.T) {
	h := start(t, nil)
	body := inChanges(statusChange)
	signature := Sign(testSecret, []byte(body))
	upper := "sha256=" + strings.ToUpper(signature[len("sha256="):])
	noHeader := "POST /api/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
	chunked := "POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: "
	verify := "/api/webhook?hub.mode=subscribe&hub.challenge=1%2B158201444&hub.verify_token="
	for _, test := range []struct {
		name    string
		request string
		code    int
		// app is who the kept webhook belongs to, empty where none is kept.
		app string
	}{
		{"signed", post(signature, body), 200, "default"},
		{"hex in capitals", post(upper, body), 200, "default"},
		{"previous secret", post(Sign("previous", []byte(body)), body), 200, "default"},
		{"second app", post(Sign("second secret", []byte(body)), body), 200, "second"},
		{"signed rubbish", signed("{\"truncated\":\xff"), 200, "default"},
		{"one byte", signed("x"), 200, "default"},
		{"query is no matter", strings.Replace(signed("x"), "/api/webhook", "/api/webhook?a=b", 1), 200, "default"},
		{"whole address", strings.Replace(signed("x"), "/api/webhook", "http://x/api/webhook", 1), 200, "default"},
		{"chunked", chunked + Sign(testSecret, []byte("abcdef")) + "\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", 200, "default"},
		{"HTTP/1.0", strings.Replace(signed("x"), "HTTP/1.1", "HTTP/1.0", 1), 200, "default"},

		{"empty body", signed(""), 400, ""},
		{"no body", "POST /api/webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: " + signature + "\r\n\r\n", 400, ""},
		{"empty chunked", chunked + signature + "\r\n\r\n0\r\n\r\n", 400, ""},
		{"broken chunk", chunked + signature + "\r\n\r\nzz\r\nabc\r\n", 400, ""},
		{"no request", "\x16\x03\x01 hello\r\n\r\n", 400, ""},
		{"two lengths", "POST /api/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, ""},

		{"no signature", noHeader, 401, ""},
		{"no signature, HTTP/1.0", strings.Replace(noHeader, "HTTP/1.1", "HTTP/1.0", 1), 401, ""},
		{"no signature, no body", "POST /api/webhook HTTP/1.1\r\nHost: x\r\n\r\n", 401, ""},
		{"half a signature", post(signature[:40], body), 401, ""},
		{"signature without its kind", post(signature[7:], body), 401, ""},
		{"other kind", post("sha1="+signature[7:47], body), 401, ""},
		{"signature with more behind", post(signature+"00", body), 401, ""},

		{"wrong secret", post(Sign("wrong", []byte(body)), body), 403, ""},
		{"changed body", post(signature, strings.Replace(body, "delivered", "Delivered", 1)), 403, ""},
		{"verified, wrong token", "GET " + verify + "wrong HTTP/1.1\r\nHost: x\r\n\r\n", 403, ""},
		{"verified, empty token", "GET " + verify + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, ""},
		{"verified, other mode", "GET " + strings.Replace(verify, "subscribe", "unsubscribe", 1) + testToken + " HTTP/1.1\r\nHost: x\r\n\r\n", 403, ""},
		{"GET alone", "GET /api/webhook HTTP/1.1\r\nHost: x\r\n\r\n", 403, ""},
		{"HEAD alone", "HEAD /api/webhook HTTP/1.1\r\nHost: x\r\n\r\n", 403, ""},
		{"verified", "GET " + verify + testToken + " HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		{"verified by the second app", "GET " + verify + "other-token HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},

		{"other path", strings.Replace(signed("x"), "/api/webhook", "/api/webhooks", 1), 404, ""},
		{"root", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, ""},
		{"other method", strings.Replace(signed("x"), "POST", "PUT", 1), 405, ""},
		{"DELETE", "DELETE /api/webhook HTTP/1.1\r\nHost: x\r\n\r\n", 405, ""},
		{"POST to the stream", strings.Replace(signed("x"), "/api/webhook", "/ws", 1), 405, ""},
		{"long header", "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", headerBytes) + "\r\n\r\n", 431, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := h.counted(test.code)
			c := h.dial().send(test.request)
			method, _, _ := strings.Cut(test.request, " ")
			a := c.answerTo(method)
			if a.StatusCode != test.code {
				t.Fatalf("answered %d, want %d", a.StatusCode, test.code)
			}
			if allow := a.Header.Get("Allow"); (test.code == 405) != (allow != "") {
				t.Errorf("answered %d with Allow %q", test.code, allow)
			}
			if method == "GET" && test.code == 200 {
				if kind := a.Header.Get("Content-Type"); a.text != "1+158201444" || !strings.HasPrefix(kind, "text/plain") {
					t.Errorf("echoed %q as %s", a.text, kind)
				}
			} else if a.text != "" {
				t.Errorf("answered with a body: %q", a.text)
			}
			kept := h.shelf.kept()
			if (test.app != "") != (len(kept) == 1) || len(kept) > 1 {
				t.Fatalf("%d webhooks kept", len(kept))
			}
			if test.app != "" && kept[0].App != test.app {
				t.Errorf("kept for %q, want %q", kept[0].App, test.app)
			}
			if after := h.counted(test.code); after != before+1 {
				t.Errorf("counted %d times", after-before)
			}
		})
	}
}

func TestKeepsWhatCame(t *testing.T) {
	h := start(t, nil)
	for _, size := range []int{1, 511, 4095, 4096, 4097, 16 << 10, 20_000, 1<<20 + 1, 4 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		before := time.Now()
		h.dial().send(signed(body)).want(200)
		kept := h.shelf.kept()
		if len(kept) != 1 || string(kept[0].Body) != body {
			t.Fatalf("%d bytes: not kept as they came", size)
		}
		if got := fmt.Sprintf("sha256=%x", kept[0].Signature); got != Sign(testSecret, []byte(body)) {
			t.Errorf("%d bytes: kept with signature %s", size, got)
		}
		if at := kept[0].Received; at.Before(before) || at.After(time.Now()) {
			t.Errorf("%d bytes: received at %s", size, at)
		}
		if kept[0].Bulk {
			t.Errorf("%d bytes: bulk", size)
		}
	}
	h.dial().send(signed(inChanges(statusChange))).want(200)
	if kept := h.shelf.kept(); len(kept) != 1 || !kept[0].Bulk {
		t.Error("a status is not bulk")
	}
}

func TestRefusals(t *testing.T) {
	h := start(t, nil)
	c := h.dial()
	for _, test := range []struct{ refuse, unready error }{
		{errors.New("disk full"), nil},
		{nil, errors.New("disk full")},
	} {
		h.shelf.set(test.refuse, test.unready)
		c.send(signed("x")).want(503)
	}
	h.shelf.set(nil, nil)
	// The connection was kept: a refusal costs the sender no more than a retry.
	c.send(signed("x")).want(200)
	if got := h.counted(503); got != 2 {
		t.Errorf("503 counted %d times, want 2", got)
	}
}

func TestKeepAliveAndPipelining(t *testing.T) {
	h := start(t, nil)
	c := h.dial()
	var requests strings.Builder
	codes := []int{200, 403, 200, 404, 400, 200}
	requests.WriteString(signed("first"))
	requests.WriteString(post(Sign("wrong", []byte("second")), "second"))
	requests.WriteString("POST /api/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: " +
		Sign(testSecret, []byte("third")) + "\r\n\r\n5\r\nthird\r\n0\r\n\r\n")
	requests.WriteString(strings.Replace(signed("fourth"), "webhook", "other", 1))
	requests.WriteString(signed(""))
	requests.WriteString(signed("sixth"))
	c.send(requests.String())
	for _, code := range codes {
		c.want(code)
	}
	var bodies []string
	for _, w := range h.shelf.kept() {
		bodies = append(bodies, string(w.Body))
	}
	if got := strings.Join(bodies, " "); got != "first third sixth" {
		t.Errorf("kept %q", got)
	}
}

func TestReload(t *testing.T) {
	h := start(t, nil)
	c := h.dial()
	apps := []App{{Name: "new", VerifyToken: "new-token", Secrets: []string{"new"}}}

	for _, bad := range [][]App{nil, {{Name: "new"}}, append(apps, apps...)} {
		if err := h.Reload(bad, TLS{}); err == nil {
			t.Errorf("reload of %v: no error", bad)
		}
	}
	if err := h.Reload(apps, TLS{Cert: "a", Key: "b"}); err == nil {
		t.Error("TLS turned on by a reload: no error")
	}
	c.send(signed("x")).want(200)

	if err := h.Reload(apps, TLS{}); err != nil {
		t.Fatal(err)
	}
	c.send(signed("x")).want(403)
	c.send(post(Sign("new", []byte("x")), "x")).want(200)
	kept := h.shelf.kept()
	if len(kept) != 2 || kept[1].App != "new" {
		t.Errorf("kept %v", kept)
	}
}

func TestPanicRefusesOneRequest(t *testing.T) {
	h := start(t, nil)
	h.dial().send("GET /ws?mode=panic HTTP/1.1\r\nHost: x\r\n\r\n").want(503)
	h.dial().send(signed("x")).want(200)
}

func TestNewErrors(t *testing.T) {
	h := start(t, nil)
	logger := slog.New(slog.DiscardHandler)
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"address taken": {func(c *Config) { c.Listen = h.Addr().String() }, "listen"},
		"no such cert":  {func(c *Config) { c.TLS = TLS{Cert: "/no/such/cert", Key: "/no/such/key"} }, "tls.cert"},
	} {
		cfg := testConfig()
		test.change(&cfg)
		_, err := New(cfg, &shelf{}, nil, logger, prometheus.NewRegistry())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not name %s", name, err, test.want)
		}
	}
	reg := prometheus.NewRegistry()
	first, err := New(testConfig(), &shelf{}, nil, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(testConfig(), &shelf{}, nil, logger, reg); err == nil {
		t.Error("metrics registered twice: no error")
	}
	// One that never served can be shut down, and closed again.
	if err := first.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Serve(); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	h := start(t, func(_ *Config, s *shelf) {
		s.enter, s.leave = make(chan struct{}), make(chan struct{})
	})
	if got, err := testutil.GatherAndCount(h.reg, "spillway_ingest_requests_total"); err != nil || got != len(codes) {
		t.Errorf("%d codes from the start, %v; want %d", got, err, len(codes))
	}
	want := func(name string, value float64) {
		t.Helper()
		if got := h.metric(name); got != value {
			t.Errorf("%s is %v, want %v", name, got, value)
		}
	}
	body := inChanges(statusChange)
	c := h.dial().send(signed(body))
	<-h.shelf.enter
	want("spillway_ingest_in_flight_bytes", 4<<10)
	want("spillway_ingest_connections", 1)
	want("spillway_ingest_ack_seconds", 0)
	close(h.shelf.leave)
	c.want(200)
	c.send(post("", "")).want(401)
	want("spillway_ingest_in_flight_bytes", 0)
	want("spillway_ingest_ack_seconds", 1)
	want("spillway_ingest_body_bytes_total", float64(len(body)))
	want("spillway_ingest_connections_refused_total", 0)
	want("spillway_ingest_requests_total", 2)
	eventually(t, "the connection's end", func() bool { return h.metric("spillway_ingest_connections") == 0 })
}
