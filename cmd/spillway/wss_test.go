package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"spillway/ingest"
)

// TestWebSocketOverTLS: what holds for /ws holds where Spillway ends the TLS itself.
func TestWebSocketOverTLS(t *testing.T) {
	cert, key := makeCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	p := start(t, t.TempDir(), "SPILLWAY_TLS_CERT="+cert, "SPILLWAY_TLS_KEY="+key,
		"SPILLWAY_STREAM_SOCKETS_PER_TOKEN=1", "SPILLWAY_STREAM_ALLOWED_ORIGINS=https://app.example.com")
	trusted := trust(t, cert)
	dialer := &websocket.Dialer{TLSClientConfig: trusted, HandshakeTimeout: 10 * time.Second}
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return dialer.Dial("wss://"+p.public+"/ws?events=nope,message:new", http.Header{"Origin": {origin}})
	}
	open := func(token string) *websocket.Conn {
		conn, _, err := dial("https://app.example.com")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		auth := map[string]any{"type": "auth", "payload": map[string]string{"token": token}}
		if err := conn.WriteJSON(auth); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	if _, answer, err := dial("https://evil.example.com"); err == nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %v", err)
	}
	token := testToken(t)
	conn := open(token)
	if text := readText(t, conn); !strings.Contains(text, `"type":"error"`) || !strings.Contains(text, "nope") {
		t.Errorf("the first message is %s", text)
	}
	readText(t, conn) // the position

	postOverTLS(t, "https://"+p.public+"/api/webhook", trusted)
	if text := readText(t, conn); !strings.Contains(text, `"type":"message:new"`) {
		t.Errorf("the event is %s", text)
	}

	if code := closeCode(t, open(token)); code != websocket.CloseTryAgainLater {
		t.Errorf("a second socket of one token: closed with %d", code)
	}
	if got := p.metric(`spillway_stream_closes_total{code="1013"}`); got != "1" {
		t.Errorf("%s closes with 1013 are counted", got)
	}
	if _, err := conn.NetConn().Write([]byte("\x81\x05hello")); err != nil {
		t.Fatal(err)
	}
	if code := closeCode(t, conn); code != websocket.CloseProtocolError {
		t.Errorf("a frame that is not masked: closed with %d", code)
	}
}

// postOverTLS sends a signed message.
func postOverTLS(t *testing.T, url string, trusted *tls.Config) {
	t.Helper()
	body, err := newSample("message")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Hub-Signature-256", ingest.Sign(testAppSecret, body))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("post answers %d", answer.StatusCode)
	}
}

// trust is a client's configuration with the certificate as its only root.
func trust(t *testing.T, cert string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the file")
	}
	return &tls.Config{RootCAs: roots}
}

func readText(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	_, data, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// closeCode reads on until the close frame.
func closeCode(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code
		}
		if err != nil {
			t.Fatalf("want a close frame, got %v", err)
		}
	}
}
