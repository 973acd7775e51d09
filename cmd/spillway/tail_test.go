package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/cmd/spillway/config"
)

// streamServer answers each connection with what serve does to it.
func streamServer(t *testing.T, serve func(r *http.Request, conn *websocket.Conn)) string {
	t.Helper()
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		serve(r, conn)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func eventText(n int) string {
	return fmt.Sprintf(`{"id":"place-%d","uid":"00000000-0000-5000-8000-%012d","type":"message:new","payload":{"n":%d,"text":"<&>"}}`, n, n, n)
}

func write(conn *websocket.Conn, text string) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte(text))
}

// hold reads until the peer is gone.
func hold(conn *websocket.Conn) {
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}

func TestTailPrintsAndCounts(t *testing.T) {
	without(t)
	data := t.TempDir()
	made, err := config.MakeDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan *http.Request, 1)
	url := streamServer(t, func(r *http.Request, conn *websocket.Conn) {
		requests <- r
		for n := 1; n <= 5; n++ {
			write(conn, eventText(n))
		}
		hold(conn)
	})
	got := spillway(t, "", "tail", "--url", url, "--data", data, "--since", "0", "--events", "message:new,contact:new",
		"--phone-number-id", "1,2", "--count", "3")
	if got.code != exitOK || got.stderr != "spillway: connected\n" {
		t.Errorf("got %+v", got)
	}
	if want := eventText(1) + "\n" + eventText(2) + "\n" + eventText(3) + "\n"; got.stdout != want {
		t.Errorf("got\n%s\nwant\n%s", got.stdout, want)
	}
	r := <-requests
	query := r.URL.Query()
	if r.URL.Path != "/ws" || query.Get("since") != "0" || query.Get("events") != "message:new,contact:new" || query.Get("phone_number_id") != "1,2" {
		t.Errorf("asked for %s", r.URL)
	}
	claimsOf(t, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), made.JWTSecret)
}

func TestTailResumes(t *testing.T) {
	without(t)
	var mu sync.Mutex
	var since []string
	url := streamServer(t, func(r *http.Request, conn *websocket.Conn) {
		mu.Lock()
		since = append(since, r.URL.Query().Get("since"))
		first := len(since) == 1
		mu.Unlock()
		if first {
			write(conn, eventText(1))
			return // the connection is lost
		}
		write(conn, eventText(2))
		hold(conn)
	})
	got := spillway(t, "", "tail", "--url", url, "--token", "given", "--count", "2")
	if got.code != exitOK || got.stdout != eventText(1)+"\n"+eventText(2)+"\n" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(got.stderr, "trying again in") || strings.Contains(got.stderr, "given") {
		t.Errorf("said %q", got.stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(since) != 2 || since[0] != "" || since[1] != "place-1" {
		t.Errorf("resumed after %q", since)
	}
}

func TestTailRefused(t *testing.T) {
	without(t)
	for code, want := range map[int]string{4001: "token refused", 4009: `the oldest kept come after "old-1"`} {
		url := streamServer(t, func(_ *http.Request, conn *websocket.Conn) {
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "old-1"), time.Now().Add(time.Second))
			hold(conn)
		})
		got := spillway(t, "", "tail", "--url", url, "--token", "t", "--since", "x")
		if got.code != exitFailure || !strings.Contains(got.stderr, want) {
			t.Errorf("%d: got %+v", code, got)
		}
	}
}

func TestTailEndsWhenInterrupted(t *testing.T) {
	without(t)
	url := streamServer(t, func(_ *http.Request, conn *websocket.Conn) {
		write(conn, eventText(1))
		hold(conn)
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stdout := cancelWriter{cancel: cancel}
	o := tailOptions{url: url, token: "t", output: outputAuto}
	if err := o.run(ctx, &stdout, &bytes.Buffer{}); err != nil {
		t.Errorf("ends with %v", err)
	}
	if stdout.String() != eventText(1)+"\n" {
		t.Errorf("printed %q", stdout.String())
	}
}

// cancelWriter cancels at its first write.
type cancelWriter struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (w *cancelWriter) Write(p []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(p)
}

// TestTailEndsAtASignal sends the signal itself, to this very process.
func TestTailEndsAtASignal(t *testing.T) {
	without(t)
	url := streamServer(t, func(_ *http.Request, conn *websocket.Conn) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGINT)
		hold(conn)
	})
	if got := spillway(t, "", "tail", "--url", url, "--token", "t"); got.code != exitOK || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
}
