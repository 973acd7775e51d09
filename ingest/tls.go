package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/valyala/fasthttp"
)

// loadTLS reads the files of t into what a handshake needs.
func loadTLS(t TLS) (*tls.Config, error) {
	if _, err := os.ReadFile(t.Cert); err != nil {
		return nil, fmt.Errorf("read tls.cert: %w", err)
	}
	if _, err := os.ReadFile(t.Key); err != nil {
		return nil, fmt.Errorf("read tls.key: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("load tls.cert and tls.key: %w", err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"},
	}
	if t.ClientCA == "" {
		return config, nil
	}
	authorities, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read tls.client_ca: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("read tls.client_ca: %w", errors.New("no certificate in the file"))
	}
	// Subscribers have no certificate; a webhook's sender is checked by hasName.
	config.ClientAuth = tls.VerifyClientCertIfGiven
	// A resumed session would outlive the CAs it was verified with.
	config.SessionTicketsDisabled = true
	return config, nil
}

// hasName reports whether a verified certificate of the client carries the name.
func hasName(state *tls.ConnectionState, name string) bool {
	if state == nil || len(state.VerifiedChains) == 0 {
		return false
	}
	leaf := state.PeerCertificates[0]
	if strings.EqualFold(leaf.Subject.CommonName, name) {
		return true
	}
	for _, dns := range leaf.DNSNames {
		if strings.EqualFold(dns, name) {
			return true
		}
	}
	return false
}

// What is known of a client's certificate.
const (
	clientUnknown int32 = iota
	clientRight
	clientWrong
)

// identified reports whether the client is the one whose certificate is asked
// for, if one is. The answer is that of the connection's first request: a
// reload counts for connections made after it.
func (s *Server) identified(ctx *fasthttp.RequestCtx) bool {
	trust := s.trust.Load()
	if trust.clientName == "" {
		return true
	}
	c := connOf(ctx.Conn())
	if c == nil {
		return false
	}
	known := c.client.Load()
	if known == clientUnknown {
		known = clientWrong
		if hasName(ctx.TLSConnectionState(), trust.clientName) {
			known = clientRight
		}
		c.client.Store(known)
	}
	return known == clientRight
}

// trust is all that a reload changes, swapped as one.
type trust struct {
	keys *keyring
	// secure is nil for plain HTTP.
	secure *tls.Config
	// clientName is what a client's certificate must carry, empty where none is
	// asked for.
	clientName string
}

func loadTrust(apps []App, t TLS) (*trust, error) {
	tr := &trust{keys: newKeyring(apps)}
	if !t.Enabled() {
		return tr, nil
	}
	secure, err := loadTLS(t)
	if err != nil {
		return nil, err
	}
	tr.secure = secure
	if t.ClientCA != "" {
		tr.clientName = t.ClientName
	}
	return tr, nil
}

// handshake gives each handshake the newest certificates.
func (s *Server) handshake() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.trust.Load().secure, nil
		},
	}
}
