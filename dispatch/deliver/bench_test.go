package deliver

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"spillway/dispatch/deliver/post"
)

const benchSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// fastEndpoint answers 200 to all, as soon as it can.
func fastEndpoint(b *testing.B) (url string, heard *atomic.Int64) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	heard = &atomic.Int64{}
	server := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) { heard.Add(1) }}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Shutdown() })
	return "http://" + listener.Addr().String() + "/hook", heard
}

// BenchmarkDeliver is deliveries to one fast endpoint, from the store until they are
// settled there; compare with BenchmarkBareClient.
func BenchmarkDeliver(b *testing.B) {
	url, heard := fastEndpoint(b)
	r := newRig(b)
	e := endpointAt("a", url)
	e.Concurrency = 64
	cfg := DefaultConfig()
	cfg.Interval = 50 * time.Millisecond
	cfg.Dial = func(e Endpoint) (Sender, error) {
		return post.New(post.Config{URL: e.URL, Secrets: []string{benchSecret}, AllowLoopback: true, Concurrency: e.Concurrency})
	}
	d := r.startWith(cfg, e)
	r.eventually("all shares are leased", func() bool { return d.shareCount() == testPartitions })
	b.ResetTimer()
	for left := b.N; left > 0; left -= 500 {
		r.put(min(left, 500), 100)
		for heard.Load() < int64(b.N-left) { // as much again may wait
			time.Sleep(100 * time.Microsecond)
		}
	}
	r.eventually("all is delivered", func() bool { return heard.Load() >= int64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkBareClient is a loop of net/http's client alone.
func BenchmarkBareClient(b *testing.B) {
	url, _ := fastEndpoint(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	body := bytes.Repeat([]byte("x"), 200)
	var left atomic.Int64
	left.Store(int64(b.N))
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				response, err := client.Do(request)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
	workers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
