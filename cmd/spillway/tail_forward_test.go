package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// plainTimes takes out of what was said how long it took.
func plainTimes(said string) string {
	return regexp.MustCompile(`[0-9.]+ m?s\b`).ReplaceAllString(said, "T")
}

func sendEvents(from, to int) func(*http.Request, *websocket.Conn) {
	return func(_ *http.Request, conn *websocket.Conn) {
		for n := from; n <= to; n++ {
			write(conn, eventText(n))
		}
		hold(conn)
	}
}

func TestForwardRepeatsUntilAccepted(t *testing.T) {
	without(t)
	answers := []int{200, 500, 307, 204, 404, 201}
	p := newProgram(t, func(attempt int) int { return answers[attempt-1] })
	url := streamServer(t, sendEvents(1, 3))
	got := spillway(t, "", "tail", "--url", url, "--token", "t", "--count", "3", "--forward", p.addr+"/hook?x=1")
	want := []string{eventText(1) + "\n", eventText(2) + "\n", eventText(3) + "\n"}
	if accepted := p.got(); !slices.Equal(accepted, want) || got.code != exitOK || got.stdout != strings.Join(want, "") {
		t.Errorf("accepted %q, printed %+v", accepted, got)
	}
	said := `spillway: connected
→ 200 in T
→ 500 in T: went \u001b[31mwrong; trying again in T
→ 307 in T: went \u001b[31mwrong; trying again in T
→ 204 in T
→ 404 in T: went \u001b[31mwrong; trying again in T
→ 201 in T
spillway: to go on from here: --since place-3
`
	if plainTimes(got.stderr) != said {
		t.Errorf("said\n%s\nwant\n%s", got.stderr, said)
	}
	for _, header := range p.headers {
		if header.Get("Content-Type") != "application/json" {
			t.Errorf("posted with %v", header)
		}
	}
}

// TestForwardGivesUp skips what was refused often enough; a post without an
// answer is not counted.
func TestForwardGivesUp(t *testing.T) {
	without(t)
	answers := []int{0, 400, 400, 200}
	p := newProgram(t, func(attempt int) int { return answers[attempt-1] })
	url := streamServer(t, sendEvents(1, 2))
	got := spillway(t, "", "tail", "--url", url, "--token", "t", "--count", "2",
		"--forward", "http://"+p.addr, "--forward-attempts", "2", "--forward-timeout", "100ms")
	if accepted := p.got(); !slices.Equal(accepted, []string{eventText(2) + "\n"}) || got.code != exitOK {
		t.Errorf("accepted %q, %+v", accepted, got)
	}
	for _, want := range []string{"→ no answer in 100 ms; trying again in ", "wrong; trying again in ", "wrong; going on without it"} {
		if strings.Count(got.stderr, want) != 1 {
			t.Errorf("said\n%s\nwant once %q", got.stderr, want)
		}
	}
}

// TestForwardIsInterrupted ends tail while the program thinks, and while it is
// away: the event counts as not handled.
func TestForwardIsInterrupted(t *testing.T) {
	without(t)
	for name, away := range map[string]bool{"thinking": false, "away": true} {
		t.Run(name, func(t *testing.T) {
			posted := make(chan struct{}, 1)
			p := newProgram(t, func(attempt int) int {
				if attempt == 1 {
					return 200
				}
				posted <- struct{}{}
				return 0
			})
			url := streamServer(t, sendEvents(1, 2))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stderr listened
			o := tailOptions{url: url, token: "t", output: outputJSON, forward: p.addr, forwardTimeout: time.Minute}
			ended := make(chan error, 1)
			go func() { ended <- o.run(ctx, io.Discard, &stderr) }()
			<-posted
			if away {
				p.stop()
				stderr.wait(t, "→ no answer: ")
			}
			began := time.Now()
			cancel()
			if err := <-ended; err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("ended with %v after %s", err, time.Since(began))
			}
			if !strings.HasSuffix(stderr.String(), "--since place-1\n") {
				t.Errorf("said %q", stderr.String())
			}
		})
	}
}

// TestForwardOutlastsTheConnection has the server give up the socket while the
// program is away, so that pings go unanswered and the queue is full: what was
// not read comes after the resume, and nothing twice.
func TestForwardOutlastsTheConnection(t *testing.T) {
	without(t)
	p := newProgram(t, always(200))
	p.stop()
	var stderr listened
	since := make(chan string, 2)
	url := streamServer(t, func(r *http.Request, conn *websocket.Conn) {
		after := r.URL.Query().Get("since")
		since <- after
		if after != "" {
			sendEvents(2, 5)(r, conn) // number 2 comes again
			return
		}
		write(conn, eventText(1))
		write(conn, eventText(2))
		stderr.wait(t, "→ no answer: ")
		_ = conn.Close() // the ping was not answered
		p.start()
	})
	o := tailOptions{url: url, token: "t", output: outputJSON, count: 5, forward: p.addr, forwardTimeout: time.Minute}
	var stdout bytes.Buffer
	if err := o.run(t.Context(), &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range 5 {
		want = append(want, eventText(n+1)+"\n")
	}
	if got := p.got(); !slices.Equal(got, want) || stdout.String() != strings.Join(want, "") {
		t.Errorf("accepted %q, printed %q", got, stdout.String())
	}
	if first, second := <-since, <-since; first != "" || second != "place-2" {
		t.Errorf("asked for what comes after %q and %q", first, second)
	}
}

// TestForwardLosesNothing kills the receiver with -9 and restarts the program,
// which fails now and then, while a customer writes: the program accepts each
// message once and in order.
func TestForwardLosesNothing(t *testing.T) {
	const rounds, each = 3, 20
	data := t.TempDir()
	receiver := start(t, data)
	program := newProgram(t, func(attempt int) int {
		if attempt%7 == 0 {
			return 500
		}
		return 200
	})
	var stderr listened
	o := tailOptions{url: receiver.public, token: testToken(t), since: "0", events: []string{"message:new"}, count: rounds * each,
		output: outputText, forward: program.addr, forwardTimeout: time.Minute}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, io.Discard, &stderr) }()
	var want []string
	for round := range rounds {
		for range each {
			text := fmt.Sprintf("message %d", len(want))
			if status := receiver.post(messageWebhook(newWamid(), "15551234567", text)); status != http.StatusOK {
				t.Fatalf("answer %d", status)
			}
			want = append(want, text)
		}
		if round > 0 {
			stderr.wait(t, "→ no answer: ")
			stderr.forget()
			program.start()
		}
		if round < rounds-1 {
			stderr.wait(t, "→ 200 in ")
			program.stop()
			receiver.kill()
			stderr.forget()
			receiver = start(t, data, "SPILLWAY_LISTEN="+receiver.public)
		}
	}
	if err := <-ended; err != nil || ctx.Err() != nil {
		t.Errorf("ended with %v, %v\n%s", err, ctx.Err(), stderr.String())
	}
	var got []string
	for _, body := range program.got() {
		var event struct {
			Payload struct{ Content struct{ Text string } }
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Payload.Content.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("accepted %q\nsaid %s", got, stderr.String())
	}
}

// TestReadmeForward runs what the README tells a developer to.
func TestReadmeForward(t *testing.T) {
	without(t)
	receiver, program := start(t, t.TempDir()), newProgram(t, always(200))
	_, port, err := net.SplitHostPort(program.addr)
	if err != nil {
		t.Fatal(err)
	}
	commands := strings.ReplaceAll(readmeBlock(t, "forward", "sh"), "3000", port)
	var stderr listened
	shell := exec.Command("bash", "-euo", "pipefail", "-c", commands)
	shell.Dir, shell.Stderr = builtFolder(t), &stderr
	shell.Env = append(os.Environ(), "SPILLWAY_LISTEN="+receiver.public, "SPILLWAY_JWT_SECRET="+testJWTSecret)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }()
	stderr.wait(t, "connected")
	if status := receiver.post(messageWebhook(newWamid(), "15551234567", "Hello!")); status != http.StatusOK {
		t.Fatalf("answer %d", status)
	}
	stderr.wait(t, "→ 200 in ")
	if err := syscall.Kill(-shell.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := shell.Wait(); err != nil || !strings.Contains(stderr.String(), "to go on from here: --since ") {
		t.Errorf("%v, said %q", err, stderr.String())
	}
	if got := program.got(); len(got) == 0 || !strings.Contains(got[0], `"type":"message:new"`) {
		t.Errorf("accepted %q", got)
	}
}

func TestForwardURL(t *testing.T) {
	for in, want := range map[string]string{
		"3000":                         "http://localhost:3000/",
		":3000":                        "http://localhost:3000/",
		"3000/webhook?a=b":             "http://localhost:3000/webhook?a=b",
		"localhost:3000/webhook":       "http://localhost:3000/webhook",
		"127.0.0.2:1":                  "http://127.0.0.2:1/",
		"http://[::1]:1/x":             "http://[::1]:1/x",
		"https://u:p@example.com/x":    "https://u:p@example.com/x",
		"http://example.com":           "",
		"example.com/hook":             "",
		"http://localhost.example.com": "",
		"http://127.0.0.1.example.com": "",
		"http://0.0.0.0:1":             "",
		"ftp://localhost":              "",
		"http://":                      "",
	} {
		got, err := forwardURL(in)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q gives %v, %v; want %q", in, got, err, want)
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Errorf("%q: exit code %d", in, exitCode(err))
		}
	}
}

// TestForwardKeepsThePassword shows none of the URL in what goes wrong.
func TestForwardKeepsThePassword(t *testing.T) {
	without(t)
	p := newProgram(t, always(200))
	p.stop()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr listened
	o := tailOptions{url: streamServer(t, sendEvents(1, 1)), token: "t", output: outputJSON,
		forward: "http://user:hidden@" + p.addr + "/?key=hidden", forwardTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, io.Discard, &stderr) }()
	stderr.wait(t, "connection refused; trying again in ")
	cancel()
	if err := <-ended; err != nil || strings.Contains(stderr.String(), "hidden") {
		t.Errorf("ended with %v, said %q", err, stderr.String())
	}
}

func TestBriefly(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0 ms", 3900 * time.Microsecond: "3 ms", 999 * time.Millisecond: "999 ms", 1500 * time.Millisecond: "1.5 s", 30 * time.Second: "30.0 s"} {
		if got := briefly(d); got != want {
			t.Errorf("%s is written %q, want %q", d, got, want)
		}
	}
}
