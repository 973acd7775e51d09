package localredis

import (
	"errors"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// proxied starts a server behind a proxy; the client makes no second attempt.
func proxied(t *testing.T) (*Server, *Proxy, *goredis.Client) {
	t.Helper()
	s := startServer(t, Options{})
	p, err := StartProxy(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	opts := s.clientOptions()
	opts.Addr, opts.MaxRetries, opts.ReadTimeout = p.Addr(), -1, 200*time.Millisecond
	client := goredis.NewClient(opts)
	t.Cleanup(func() {
		client.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	return s, p, client
}

func TestProxyCut(t *testing.T) {
	t.Parallel()
	_, p, client := proxied(t)
	p.Cut()
	for range 2 { // an open connection, then a new one
		if err := client.Ping(t.Context()).Err(); err == nil {
			t.Error("an answer through a proxy that is cut")
		}
	}
	p.Reset()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a reset restored the proxy")
	}
	p.Restore()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after Restore: %v", err)
	}
}

func TestProxyReset(t *testing.T) {
	t.Parallel()
	_, p, client := proxied(t)
	connection := client.Conn()
	defer connection.Close()
	if err := connection.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	p.Reset()
	if err := connection.Ping(t.Context()).Err(); err == nil {
		t.Error("an answer on a connection that was reset")
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("on a new connection: %v", err)
	}
}

func TestProxyDelay(t *testing.T) {
	t.Parallel()
	_, p, client := proxied(t)
	p.Delay(50 * time.Millisecond)
	began := time.Now()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
	p.Delay(time.Hour)
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("an answer within the hour")
	}
}

func TestProxyLosesAReply(t *testing.T) {
	t.Parallel()
	s, p, client := proxied(t)
	p.LoseReply()
	if err := client.Incr(t.Context(), "count").Err(); err == nil {
		t.Error("the reply came")
	}
	if got := get(t, s, "count"); got != "1" {
		t.Errorf("count is %q: the command did not run", got)
	}
	if err := client.Incr(t.Context(), "count").Err(); err != nil {
		t.Errorf("the second reply was lost too: %v", err)
	}
}

func TestProxyServerDown(t *testing.T) {
	t.Parallel()
	s, _, client := proxied(t)
	s.Kill()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("an answer of a killed server")
	}
	if err := s.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	err := client.Get(t.Context(), "key").Err()
	for ctx := testContext(t); err != nil && !errors.Is(err, goredis.Nil); time.Sleep(checkEvery) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		err = client.Get(t.Context(), "key").Err()
	}
}
