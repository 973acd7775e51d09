package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"

	"spillway/dispatch/event"
	"spillway/ingest"
)

const (
	testAppSecret   = "an app secret of the tests"
	testVerifyToken = "a verify token of the tests"
	testJWTSecret   = "a stream secret of the tests, 32 bytes"
	// testSigningSecret is one for webhooks, of 24 bytes.
	testSigningSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
)

// binary is the real program, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "spillway-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "spillway")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build spillway: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func buildBinary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// process is a running `spillway serve`.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	public string // host:port
	admin  string
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs the real binary on free ports over a data folder and waits until
// it takes webhooks.
func start(t testing.TB, data string, env ...string) *process {
	t.Helper()
	p := launch(t, data, env...)
	p.waitReady()
	return p
}

// launch starts the binary and waits until it listens.
func launch(t testing.TB, data string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(buildBinary(t), "serve", "--log-format", "json")
	cmd.Env = append(serveEnv(data), env...)
	return launchCommand(t, cmd)
}

// launchCommand starts a serve that logs JSON and waits until it listens.
func launchCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listening := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.readLog(stderr, listening)
	}()
	go func() {
		<-read
		_ = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of the process:\n%s", p.logText())
		}
	})
	select {
	case <-listening:
	case <-p.exited:
		t.Fatalf("the process ended before it listened:\n%s", p.logText())
	case <-time.After(30 * time.Second):
		t.Fatalf("the process does not listen:\n%s", p.logText())
	}
	return p
}

// serveEnv is the environment that makes serve run on free ports over data.
func serveEnv(data string) []string {
	return append(os.Environ(),
		"SPILLWAY_LISTEN=127.0.0.1:0", "SPILLWAY_ADMIN=127.0.0.1:0", "SPILLWAY_DATA="+data,
		"SPILLWAY_APP_SECRET="+testAppSecret, "SPILLWAY_VERIFY_TOKEN="+testVerifyToken,
		"SPILLWAY_JWT_SECRET="+testJWTSecret)
}

// readLog keeps the log and finds the addresses in it.
func (p *process) readLog(r io.Reader, listening chan struct{}) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.log.Write(lines.Bytes())
		p.log.WriteByte('\n')
		p.mu.Unlock()
		var line struct{ Msg, Public, Admin string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			p.public, p.admin = line.Public, line.Admin
			close(listening)
		}
	}
}

func (p *process) logText() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) waitReady() {
	p.t.Helper()
	p.eventually(30*time.Second, "ready", func() error {
		status, body := p.adminGet("/readyz")
		if status != http.StatusOK {
			return fmt.Errorf("readyz answers %d %s", status, body)
		}
		return nil
	})
}

// eventually waits until check gives no error.
func (p *process) eventually(within time.Duration, what string, check func() error) {
	p.t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: not within %s: %v\n%s", what, within, err, p.logText())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// freeze stops the process, until SIGCONT; it returns once every thread stands still,
// which is some time after the signal was sent.
func (p *process) freeze() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	p.eventually(10*time.Second, "all threads stand still", func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("%d threads, %w", len(threads), err)
		}
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err == nil && !strings.Contains(string(stat), ") T ") {
				return fmt.Errorf("%.40s", stat)
			}
		}
		return nil
	})
}

// kill ends the process as a power cut would, as far as a process can feel it.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}

// terminate asks it to stop and gives its exit code.
func (p *process) terminate(within time.Duration) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(within):
		p.t.Fatalf("the process does not end within %s:\n%s", within, p.logText())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) adminGet(path string) (int, string) {
	response, err := http.Get("http://" + p.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// metric gives the value of a series as it stands in /metrics.
func (p *process) metric(series string) string {
	p.t.Helper()
	_, body := p.adminGet("/metrics")
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	p.t.Fatalf("no series %s in\n%s", series, body)
	return ""
}

func (p *process) webhookURL() string { return "http://" + p.public + "/api/webhook" }

// post sends a signed webhook and gives the status, 0 where there is no answer.
func (p *process) post(body []byte) int {
	return post(p.webhookURL(), body, ingest.Sign(testAppSecret, body))
}

var poster = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func post(url string, body []byte, signature string) int {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	if signature != "" {
		request.Header.Set("X-Hub-Signature-256", signature)
	}
	response, err := poster.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// received is an event as a subscriber sees it.
type received struct {
	ID, UID, Type string
	Payload       map[string]any
}

func testToken(t testing.TB) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(testJWTSecret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// subscribe opens a WebSocket as a browser does, token in the query and Origin
// in the header, and passes on events until ctx ends.
func (p *process) subscribe(ctx context.Context, since string) <-chan received {
	p.t.Helper()
	url := "ws://" + p.public + "/ws?token=" + testToken(p.t)
	if since != "" {
		url += "&since=" + since
	}
	conn, _, err := websocket.DefaultDialer.Dial(url, http.Header{"Origin": {"http://" + p.public}})
	if err != nil {
		p.t.Fatal(err)
	}
	events := make(chan received, 1<<16)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	p.t.Cleanup(func() { stop(); _ = conn.Close() })
	go func() {
		defer close(events)
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			var e received
			if json.Unmarshal(data, &e) == nil && e.UID != "" {
				events <- e
			}
		}
	}()
	return events
}

// gather collects all events kept until there are want of those that count, and
// then, for a moment, no more come.
func (p *process) gather(want int, counts func(received) bool) []received {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events []received
	incoming := p.subscribe(ctx, "0")
	deadline := time.After(60 * time.Second)
	quiet := time.NewTimer(time.Hour)
	for {
		select {
		case e, open := <-incoming:
			if !open {
				p.t.Fatalf("the socket closed after %d events", len(events))
			}
			events = append(events, e)
			if counts(e) {
				want--
			}
			if want <= 0 {
				quiet.Reset(500 * time.Millisecond)
			}
		case <-quiet.C:
			return events
		case <-deadline:
			_, metrics := p.adminGet("/metrics")
			p.t.Fatalf("%d events within a minute, %d more are wanted\n%s", len(events), want, metrics)
		}
	}
}

// caused is true for an event that stands for something in a webhook; contact
// events are made by us.
func caused(e received) bool {
	return e.Type != event.ContactNew && e.Type != event.ContactUpdated
}
