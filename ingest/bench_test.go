package ingest

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

// sink is a Log that keeps nothing.
type sink struct{}

func (sink) Append(*Webhook) error     { return nil }
func (sink) Ready() error              { return nil }
func (sink) CommitTime() time.Duration { return 0 }

// acceptor gives a function that takes one webhook, without a connection.
func acceptor(tb testing.TB, content []byte) (*Server, func()) {
	tb.Helper()
	s, err := New(testConfig(), sink{}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	var ctx fasthttp.RequestCtx
	source := bytes.NewReader(content)
	ctx.Request.Header.SetMethod(fasthttp.MethodPost)
	ctx.Request.SetRequestURI(webhookPath)
	ctx.Request.Header.SetBytesK(signatureHeader, Sign(testSecret, content))
	return s, func() {
		source.Reset(content)
		ctx.Request.SetBodyStream(source, len(content))
		ctx.Response.Reset()
		s.handle(&ctx)
		if ctx.Response.StatusCode() != fasthttp.StatusOK {
			tb.Fatalf("answered %d", ctx.Response.StatusCode())
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{600, 2 << 10, 20 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			content := []byte(inChanges(statusChange + strings.Repeat(","+statusChange, max(size/len(statusChange), 1)-1)))
			_, accept := acceptor(b, content)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				accept()
			}
		})
	}
}

// BenchmarkServe takes webhooks over sockets, one at a time on each of many
// connections; the senders share the processors.
func BenchmarkServe(b *testing.B) {
	for _, connections := range []int{64, 512} {
		b.Run(fmt.Sprintf("%dconns", connections), func(b *testing.B) {
			content := inChanges(statusChange)
			s, _ := acceptor(b, []byte(content))
			go func() { _ = s.Serve() }()
			request := []byte(signed(content))
			b.SetParallelism(connections / runtime.GOMAXPROCS(0))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				answer := make([]byte, 1024)
				for pb.Next() {
					if _, err := c.Write(request); err != nil {
						b.Error(err)
						return
					}
					n, err := c.Read(answer)
					if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200 ")) {
						b.Errorf("answered %q, %v", answer[:n], err)
						return
					}
				}
			})
		})
	}
}
