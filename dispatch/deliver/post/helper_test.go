package post

import (
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The benchmark's server never ends the one, and the other only a while later.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const (
	testID   = "5b2f0c0e-6d0a-5c55-9a52-6f3b7e6f7a11"
	testBody = `{"id":"1","uid":"5b2f0c0e-6d0a-5c55-9a52-6f3b7e6f7a11","type":"message:new","payload":{}}`
)

// secretOf is a valid secret of 32 bytes.
func secretOf(letter string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32)))
}

// endpoint is a server over TLS on loopback that counts its connections.
type endpoint struct {
	*httptest.Server
	connections atomic.Int64
}

func newEndpoint(t testing.TB, http2 bool, handler http.HandlerFunc) *endpoint {
	t.Helper()
	e := &endpoint{Server: httptest.NewUnstartedServer(handler)}
	e.EnableHTTP2 = http2
	e.Config.ErrorLog = quiet()
	e.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			e.connections.Add(1)
		}
	}
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

// trusts makes a sender trust the certificate of the test servers, which all have the same.
func trusts(s *Sender, certificate *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	s.transport.TLSClientConfig.RootCAs = pool
}

// newSender may connect to loopback over TLS.
func newSender(t testing.TB, e *endpoint, change func(*Config)) *Sender {
	t.Helper()
	s := senderFor(t, e.URL+"/hook?token=t0psecret", change)
	trusts(s, e.Certificate())
	return s
}

func senderFor(t testing.TB, url string, change func(*Config)) *Sender {
	t.Helper()
	cfg := Config{
		URL:       url,
		Secrets:   []string{secretOf("a")},
		AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Timeout:   10 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// rawEndpoint accepts on loopback and hands each connection to serve, which may
// break HTTP as it likes.
func rawEndpoint(t testing.TB, serve func(*net.TCPConn)) (url string, connections *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			serve(connection.(*net.TCPConn))
			connection.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return "http://" + listener.Addr().String() + "/hook", connections
}

// readRequest reads until the body of the tests has come.
func readRequest(connection net.Conn) {
	read, piece := "", make([]byte, 4096)
	for !strings.Contains(read, testBody) {
		n, err := connection.Read(piece)
		read += string(piece[:n])
		if err != nil {
			return
		}
	}
}

func loopback(c *Config) { c.AllowLoopback = true }

func discard(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
