package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"spillway/bench/browser"
)

const clientFolder = "../../dispatch/stream/client"

// clientBlock is a block of the clients' page, as it runs beside a receiver.
func clientBlock(t *testing.T, mark, language, receiver string) string {
	t.Helper()
	block := pageBlock(t, filepath.Join(clientFolder, "README.md"), mark, language)
	if !strings.Contains(block, "127.0.0.1:8080") {
		t.Fatalf("the block %s names no receiver", mark)
	}
	return strings.ReplaceAll(block, "127.0.0.1:8080", receiver)
}

// TestInbox opens the inbox that the clients' page shows, in a browser, and ends
// the receiver under it again and again, by kill -9 and by SIGTERM, while messages
// come in. The inbox shows each once, and those of a customer in order.
func TestInbox(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	data, address := t.TempDir(), restartAddress(t)
	var target atomic.Pointer[process]
	target.Store(start(t, data, "SPILLWAY_LISTEN="+address))

	ctx, cancel := context.WithTimeout(browser.Start(t), 2*time.Minute)
	defer cancel()
	site := inboxSite(t, address)
	page, err := browser.Open(ctx, site.URL+"/inbox.html", browser.View{Width: 800, Height: 600})
	if err != nil {
		t.Fatal(err)
	}
	seeSeed(ctx, t, page, clientBlock(t, "seed", "js", address))
	writers := startCustomers(t, seed, &target)
	for i := range 6 {
		time.Sleep(400 * time.Millisecond)
		if i%3 == 2 {
			if code := target.Load().terminate(20 * time.Second); code != exitOK {
				t.Errorf("ended with %d", code)
			}
		} else {
			target.Load().kill()
		}
		target.Store(start(t, data, "SPILLWAY_LISTEN="+address))
	}
	time.Sleep(400 * time.Millisecond)
	sent := writers.stop()
	lines := shownLines(ctx, t, sent)
	checkLines(t, lines, sent)

	// Loaded again it shows what it kept, and goes on behind it.
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	const kept = 500
	writers.write(t, 0)
	again := shownLines(ctx, t, min(kept, sent)+1)
	if want := lines[len(lines)-min(kept, sent):]; !slices.Equal(again[:len(again)-1], want) {
		t.Errorf("loaded again it shows %d lines, the last %d of before were wanted", len(again), len(want))
	}
	for _, message := range page.Messages() {
		if strings.Contains(message, "Uncaught") {
			t.Errorf("console: %s", message)
		}
	}
	t.Logf("%d messages", sent)
	if sent < 200 {
		t.Errorf("only %d messages were sent: the test shows nothing", sent)
	}
}

// seeSeed runs the two lines that the page begins with, and wants to see a message.
func seeSeed(ctx context.Context, t *testing.T, page *browser.Page, seed string) {
	t.Helper()
	expression := fmt.Sprintf("{ const token = %q; %s }", testToken(t), seed)
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](expression)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if strings.Contains(strings.Join(page.Messages(), "\n"), "stream:position") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("no message was shown: %q", page.Messages())
}

// restartAddress is one that a receiver can be started on again: it lies below
// what systems hand out to outgoing connections.
func restartAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 30_000+rand.IntN(2_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// inboxSite is the web site that the inbox belongs to.
func inboxSite(t *testing.T, receiver string) *httptest.Server {
	t.Helper()
	inbox := clientBlock(t, "inbox", "html", receiver)
	mux := http.NewServeMux()
	mux.HandleFunc("/inbox.html", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, inbox)
	})
	mux.HandleFunc("/spillway.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(clientFolder, "spillway.js"))
	})
	mux.HandleFunc("/stream-token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, testToken(t)) })
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site
}

// customers write at once, each one message after the other.
type customers struct {
	seed    uint64
	target  *atomic.Pointer[process]
	cancel  context.CancelFunc
	running sync.WaitGroup
	written [8]int
}

func startCustomers(t *testing.T, seed uint64, target *atomic.Pointer[process]) *customers {
	ctx, cancel := context.WithCancel(t.Context())
	c := &customers{seed: seed, target: target, cancel: cancel}
	for i := range c.written {
		c.running.Go(func() {
			for ctx.Err() == nil {
				c.write(t, i)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return c
}

// write has a customer write one more message, until it is acked.
func (c *customers) write(t *testing.T, customer int) {
	n := c.written[customer] + 1
	body := messageWebhook(fmt.Sprintf("wamid.%x.%d.%d", c.seed, customer, n), fmt.Sprintf("1555000%04d", customer), fmt.Sprintf("%d %d", customer, n))
	deadline := time.Now().Add(30 * time.Second)
	for c.target.Load().post(body) != http.StatusOK {
		if time.Now().After(deadline) {
			t.Errorf("message %d of customer %d is not taken", n, customer)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.written[customer] = n
}

// stop waits until the last message is acked, and counts them.
func (c *customers) stop() (sent int) {
	c.cancel()
	c.running.Wait()
	for _, n := range c.written {
		sent += n
	}
	return sent
}

// shownLines waits until the inbox shows so many lines, and half a second for
// those that are too many.
func shownLines(ctx context.Context, t *testing.T, want int) []string {
	t.Helper()
	all := chromedp.Evaluate[[]string](`[...document.querySelectorAll('#messages li')].map((line) => line.textContent)`)
	var lines []string
	for deadline := time.Now().Add(40 * time.Second); len(lines) < want && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if lines, err = chromedp.Run(ctx, all); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	lines, err := chromedp.Run(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != want {
		state, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector('#state').textContent`))
		t.Fatalf("the inbox shows %d messages, want %d; its state: %s", len(lines), want, state)
	}
	return lines
}

// checkLines wants the messages of each customer from the first on, in order, and
// nothing else.
func checkLines(t *testing.T, lines []string, sent int) {
	t.Helper()
	next := make(map[int]int)
	for i, line := range lines {
		var customer, n int
		_, text, _ := strings.Cut(line, ": ")
		if _, err := fmt.Sscan(text, &customer, &n); err != nil {
			t.Fatalf("line %d is %q", i, line)
		}
		if next[customer]++; n != next[customer] {
			t.Fatalf("line %d is message %d of customer %d, want %d (%d sent in all)", i, n, customer, next[customer], sent)
		}
	}
}

// TestNodeExample runs the program for Node that the clients' page shows, where
// there is a Node with WebSockets.
func TestNodeExample(t *testing.T) {
	node := findNode()
	if node == nil {
		t.Log("not run, for it needs node 22 or later, or 20.10 or later")
		return
	}
	data, address := t.TempDir(), restartAddress(t)
	p := start(t, data, "SPILLWAY_LISTEN="+address)
	folder := t.TempDir()
	source, err := os.ReadFile(filepath.Join(clientFolder, "spillway.js"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"package.json": `{"type":"module"}`,
		"spillway.js":  string(source), "follow.mjs": clientBlock(t, "node", "js", address),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	follow := exec.CommandContext(ctx, node[0], append(node[1:], "follow.mjs")...)
	follow.Dir, follow.Stderr = folder, os.Stderr
	follow.Env = append(os.Environ(), "TOKEN="+testToken(t))
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	printed := bufio.NewScanner(out)
	for n := range 3 {
		if n > 0 {
			p.kill()
			p = start(t, data, "SPILLWAY_LISTEN="+address)
		}
		text := fmt.Sprintf("message %d", n)
		if status := p.post(messageWebhook("wamid."+text, "15550000002", text)); status != http.StatusOK {
			t.Fatalf("answer %d", status)
		}
		for found := false; !found; found = strings.Contains(printed.Text(), text) {
			if !printed.Scan() {
				t.Fatalf("it ended before %q: %v", text, follow.Wait())
			}
		}
	}
	if err := follow.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if printed.Scan() {
		t.Errorf("it prints more: %s", printed.Text())
	}
	if err := follow.Wait(); err != nil {
		t.Error(err)
	}
	if since, err := os.ReadFile(filepath.Join(folder, "since")); err != nil || len(since) < 5 {
		t.Errorf("it kept %q, %v", since, err)
	}
}

// findNode gives the command of a Node with WebSockets: from 22 on they are there,
// from 20.10 on with a flag.
func findNode() []string {
	for _, command := range [][]string{{"node"}, {"node", "--experimental-websocket"}} {
		check := append(slices.Clone(command[1:]), "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}")
		if exec.Command(command[0], check...).Run() == nil {
			return command
		}
	}
	return nil
}
