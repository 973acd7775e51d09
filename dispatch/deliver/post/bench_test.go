package post

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkSend delivers to a fast server on loopback in this process, beside a bare
// net/http client that signs nothing and checks nothing. What counts is the ratio of
// their deliveries/s at the same concurrency.
func BenchmarkSend(b *testing.B) {
	url := fastEndpoint(b)
	body := []byte(`{"id":"1","uid":"` + testID + `","type":"message:status","payload":"` + string(bytes.Repeat([]byte("x"), 500)) + `"}`)
	for _, concurrency := range []int{8, 64} {
		b.Run(fmt.Sprintf("of=sender/concurrency=%d", concurrency), func(b *testing.B) {
			s := senderFor(b, url, func(c *Config) { c.AllowLoopback, c.Concurrency = true, concurrency })
			deliverAll(b, concurrency, func() int { return s.Send(context.Background(), testID, body).Code })
		})
		b.Run(fmt.Sprintf("of=bare/concurrency=%d", concurrency), func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: concurrency}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			deliverAll(b, concurrency, func() int {
				answer, err := client.Post(url, "application/json", bytes.NewReader(body))
				if err != nil {
					return 0
				}
				defer answer.Body.Close()
				_, _ = io.Copy(io.Discard, answer.Body)
				return answer.StatusCode
			})
		})
	}
}

func BenchmarkSign(b *testing.B) {
	s := must(newSigner([]string{secretOf("a")}))
	body := bytes.Repeat([]byte("x"), 600)
	b.ReportAllocs()
	for b.Loop() {
		s.sign(testID, 1700000000, body)
	}
}

// deliverAll has b.N deliveries made by so many goroutines.
func deliverAll(b *testing.B, concurrency int, deliver func() int) {
	b.ReportAllocs()
	var left, failed atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	for range concurrency {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if deliver() != 200 {
					failed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if failed.Load() > 0 {
		b.Errorf("%d deliveries failed", failed.Load())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

func fastEndpoint(b *testing.B) string {
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	server := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	b.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return "http://" + listener.Addr().String() + "/hook"
}
