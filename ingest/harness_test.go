package ingest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The clock behind the Date header is the library's and never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

const (
	testSecret = "f00dfacef00dfacef00dfacef00dface"
	testToken  = "verify-me"
	patience   = 10 * time.Second
)

// shelf is a Log that keeps copies and can be made to refuse or to wait.
type shelf struct {
	mu       sync.Mutex
	webhooks []Webhook
	refuse   error
	unready  error
	// enter, where set, gets a value when Append begins, which then waits for
	// leave.
	enter, leave chan struct{}
}

func (s *shelf) Append(w *Webhook) error {
	if s.enter != nil {
		s.enter <- struct{}{}
		<-s.leave
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	kept := *w
	kept.Signature, kept.Body = bytes.Clone(w.Signature), bytes.Clone(w.Body)
	s.webhooks = append(s.webhooks, kept)
	return nil
}

func (s *shelf) CommitTime() time.Duration { return 0 }

func (s *shelf) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unready
}

func (s *shelf) set(refuse, unready error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.unready = refuse, unready
}

// kept gives all that was appended, and forgets it.
func (s *shelf) kept() []Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.webhooks
	s.webhooks = nil
	return kept
}

type harness struct {
	*Server
	t     *testing.T
	shelf *shelf
	reg   *prometheus.Registry
	logs  *lockedBuffer
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.Apps = []App{
		{Name: "default", VerifyToken: testToken, Secrets: []string{testSecret, "previous"}},
		{Name: "second", VerifyToken: "other-token", Secrets: []string{"second secret"}},
	}
	cfg.MaxConnections, cfg.ExtraFiles = 2000, 0
	return cfg
}

// start serves with the test's config, as change leaves it, until the test ends.
func start(t *testing.T, change func(*Config, *shelf)) *harness {
	t.Helper()
	cfg, sh := testConfig(), &shelf{}
	if change != nil {
		change(&cfg, sh)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	logs := &lockedBuffer{}
	stream := func(ctx *fasthttp.RequestCtx) {
		if string(ctx.QueryArgs().Peek("mode")) == "panic" {
			panic("a secret value")
		}
		ctx.Hijack(func(c net.Conn) { _, _ = io.Copy(c, c) })
		ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
	}
	reg := prometheus.NewRegistry()
	s, err := New(cfg, sh, stream, slog.New(slog.NewTextHandler(logs, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if lent := s.buffers.inFlight.Load(); lent != 0 {
			t.Errorf("%d bytes still in flight after the end", lent)
		}
		for _, word := range []string{testSecret, testToken, "wamid", "a secret value"} {
			if strings.Contains(logs.String(), word) {
				t.Errorf("the logs hold %q", word)
			}
		}
	})
	return &harness{Server: s, t: t, shelf: sh, reg: reg, logs: logs}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// client is one raw connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (h *harness) dial() *client {
	h.t.Helper()
	c, err := net.Dial("tcp", h.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return wrap(h.t, c)
}

func wrap(t *testing.T, c net.Conn) *client {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{Conn: c, t: t, r: bufio.NewReader(c)}
}

func (c *client) send(parts ...string) *client {
	c.t.Helper()
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			c.t.Fatalf("send: %v", err)
		}
	}
	return c
}

type answer struct {
	*http.Response
	text string
}

// answer reads the next answer, to a request of that method.
func (c *client) answerTo(method string) answer {
	c.t.Helper()
	response, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read answer: %v", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("read answer's body: %v", err)
	}
	return answer{response, string(text)}
}

func (c *client) answer() answer { c.t.Helper(); return c.answerTo("POST") }

func (c *client) want(code int) answer {
	c.t.Helper()
	a := c.answer()
	if a.StatusCode != code {
		c.t.Fatalf("answered %d, want %d", a.StatusCode, code)
	}
	if retry := a.Header.Get("Retry-After"); (code == 503) != (retry != "") {
		c.t.Errorf("answered %d with Retry-After %q", code, retry)
	}
	if id := a.Header.Get(requestID); code != 503 && id != "" {
		c.t.Errorf("answered %d with the request id %q", code, id)
	}
	return a
}

// wantEnd expects that the connection was closed without more, and not reset.
func (c *client) wantEnd() {
	c.t.Helper()
	if _, err := c.r.ReadByte(); err != io.EOF {
		c.t.Errorf("after the answer: %v, want %v", err, io.EOF)
	}
}

// post is a whole request with one header line for the signature.
func post(signature, body string) string {
	return header(signature, len(body)) + body
}

func header(signature string, length int) string {
	return fmt.Sprintf("POST /api/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
		"X-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n", signature, length)
}

func signed(body string) string { return post(Sign(testSecret, []byte(body)), body) }

func (h *harness) counted(code int) int {
	return int(testutil.ToFloat64(h.metrics.requests[code]))
}

// metric is the sum of a metric's values, or of a histogram's counts.
func (h *harness) metric(name string) (sum float64) {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
		return sum
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
