package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/ingest"
	"spillway/wal"
)

// accepter is the accept path alone, a listener on a log, and one connection.
type accepter struct {
	conn    net.Conn
	answers *bufio.Reader
}

func newAccepter(t testing.TB, acked func(received time.Time)) *accepter {
	t.Helper()
	logs := slog.New(slog.DiscardHandler)
	logConfig := wal.DefaultConfig()
	logConfig.Dir = t.TempDir()
	logConfig.MinFree = 0
	log, err := wal.Open(logConfig, logs, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	config := ingest.DefaultConfig()
	config.Listen = "127.0.0.1:0"
	config.Apps = []ingest.App{{Name: "default", VerifyToken: testVerifyToken, Secrets: []string{testAppSecret}}}
	server, err := ingest.New(config, intake{log: log, acked: acked}, nil, logs, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve() }()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &accepter{conn: conn, answers: bufio.NewReader(conn)}
}

// request is a signed webhook as it goes over the wire.
func request(body []byte) []byte {
	return fmt.Appendf(nil, "POST /api/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Hub-Signature-256: %s\r\n\r\n%s",
		len(body), ingest.Sign(testAppSecret, body), body)
}

// accept posts a request and reads the answer, without allocating.
func (a *accepter) accept(t testing.TB, request []byte) {
	if _, err := a.conn.Write(request); err != nil {
		t.Fatal(err)
	}
	length := 0
	for first := true; ; first = false {
		line, err := a.answers.ReadSlice('\n')
		if err != nil {
			t.Fatal(err)
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			t.Fatalf("answered %s", line)
		}
		if after, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			for _, digit := range bytes.TrimSpace(after) {
				length = 10*length + int(digit-'0')
			}
		}
		if len(line) == len("\r\n") {
			break
		}
	}
	if _, err := a.answers.Discard(length); err != nil && err != io.EOF {
		t.Fatal(err)
	}
}

func BenchmarkAccept(b *testing.B) {
	benchmarkAccept(b, nil)
}

// BenchmarkAcceptTraced shows what the accept path costs where events are traced.
func BenchmarkAcceptTraced(b *testing.B) {
	benchmarkAccept(b, newTracer(b, 0.001).Acked)
}

func benchmarkAccept(b *testing.B, acked func(received time.Time)) {
	a := newAccepter(b, acked)
	wire := request(statusWebhook("wamid."+strings.Repeat("x", 50), "15550001001", "delivered"))
	b.ReportAllocs()
	for b.Loop() {
		a.accept(b, wire)
	}
}
