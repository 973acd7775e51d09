package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is a developer's program that events are posted to. It can be stopped
// and started again on the same port.
type program struct {
	t       *testing.T
	addr    string
	answer  func(attempt int) int // by the number of the post, from 1
	server  *http.Server
	serving chan struct{}

	mu       sync.Mutex
	posts    int
	accepted []string // the bodies answered with 2xx
	headers  []http.Header
}

func newProgram(t *testing.T, answer func(attempt int) int) *program {
	t.Helper()
	p := &program{t: t, addr: "127.0.0.1:0", answer: answer}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *program) start() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = listener.Addr().String()
	p.server, p.serving = &http.Server{Handler: p}, make(chan struct{})
	go func(server *http.Server, serving chan struct{}) {
		defer close(serving)
		_ = server.Serve(listener)
	}(p.server, p.serving)
}

// stop lets answers under way go out, but for those that are held back.
func (p *program) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = p.server.Shutdown(ctx)
	_ = p.server.Close()
	<-p.serving
}

// ServeHTTP holds back its answer until tail gives up, where that is to be 0.
func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		p.t.Errorf("%s, body: %v", r.Method, err)
	}
	p.mu.Lock()
	p.posts++
	status := p.answer(p.posts)
	if status/100 == 2 {
		p.accepted = append(p.accepted, string(body))
	}
	p.headers = append(p.headers, r.Header)
	p.mu.Unlock()
	if status == 0 {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Location", "http://127.0.0.1:1/")
	w.WriteHeader(status)
	if status/100 != 2 {
		_, _ = io.WriteString(w, "went \x1b[31mwrong\n")
	}
}

func (p *program) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.accepted)
}

func always(status int) func(int) int { return func(int) int { return status } }

// listened is standard error that a test reads while it is written.
type listened struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *listened) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *listened) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *listened) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
}

func (s *listened) wait(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, s.String())
		}
	}
}
