package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	a.cert = a.sign(template, template, a.key, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &of.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for a server and client of those names.
func (a *authority) issue(commonName string, dnsNames ...string) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: commonName}, DNSNames: dnsNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// writePair writes a certificate and its key as files, and returns their paths.
func writePair(t *testing.T, folder string, pair tls.Certificate) TLS {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	files := TLS{Cert: filepath.Join(folder, "cert.pem"), Key: filepath.Join(folder, "key.pem")}
	writePEM(t, files.Cert, "CERTIFICATE", pair.Certificate[0])
	writePEM(t, files.Key, "PRIVATE KEY", der)
	return files
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dialTLS connects; it fails the test where the handshake fails.
func (h *harness) dialTLS(config *tls.Config) *client {
	h.t.Helper()
	c, err := tls.Dial("tcp", h.Addr().String(), config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return wrap(h.t, c)
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t, "server ca")
	files := writePair(t, t.TempDir(), ca.issue("", "hooks.example"))
	h := start(t, func(c *Config, _ *shelf) { c.TLS = files })
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "hooks.example"}

	if expires := time.Until(time.Unix(int64(h.metric("spillway_ingest_certificate_expiry_timestamp_seconds")), 0)); expires < 50*time.Minute || expires > time.Hour {
		t.Errorf("the certificate expires in %s; want an hour", expires)
	}
	c := h.dialTLS(config)
	c.send(signed("x")).want(200)
	c.send(signed("y")).want(200)
	large := strings.Repeat("x", 5<<20)
	h.dialTLS(config).send(signed(large)).want(413)
	h.dialTLS(config).send(post("", large)).want(401)

	if _, err := tls.Dial("tcp", h.Addr().String(), &tls.Config{
		RootCAs: ca.pool(), ServerName: "hooks.example", MaxVersion: tls.VersionTLS11,
	}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	silent := h.dial()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	silent.wantClosed()
}

func TestTLSConnectionLimit(t *testing.T) {
	ca := newAuthority(t, "server ca")
	files := writePair(t, t.TempDir(), ca.issue("", "hooks.example"))
	h := start(t, func(c *Config, _ *shelf) { c.TLS, c.MaxConnections = files, 1 })
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "hooks.example"}
	h.dialTLS(config).send(signed("x")).want(200)
	h.dialTLS(config).want(503)
}

func TestClientCertificates(t *testing.T) {
	const name = "client.webhooks.example"
	ca, meta, stranger := newAuthority(t, "server ca"), newAuthority(t, "client ca"), newAuthority(t, "other ca")
	files := writePair(t, t.TempDir(), ca.issue("", "hooks.example"))
	files.ClientCA, files.ClientName = filepath.Join(t.TempDir(), "ca.pem"), name
	writePEM(t, files.ClientCA, "CERTIFICATE", meta.cert.Raw)
	h := start(t, func(c *Config, _ *shelf) { c.TLS = files })

	with := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.pool(), ServerName: "hooks.example", Certificates: certs}
	}
	for _, test := range []struct {
		name   string
		config *tls.Config
		code   int
	}{
		{"common name", with(meta.issue(name)), 200},
		{"DNS name", with(meta.issue("", "a.example", name)), 200},
		{"other name", with(meta.issue("somebody", "a.example")), 403},
		{"no certificate", with(), 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := h.dialTLS(test.config)
			if test.code == 200 {
				c.send(signed("x")).want(200)
			}
			c.send("GET /api/webhook?hub.mode=subscribe&hub.challenge=c&hub.verify_token=" + testToken + " HTTP/1.1\r\nHost: x\r\n\r\n")
			c.want(test.code)
			c.send("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
			if a := c.answerTo("GET"); a.StatusCode != 101 {
				t.Errorf("/ws answered %d, want 101", a.StatusCode)
			}
			h.dialTLS(test.config).send(signed(strings.Repeat("x", 1<<20))).want(test.code)
		})
	}
	c := h.dialTLS(&tls.Config{RootCAs: ca.pool(), ServerName: "hooks.example",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			forged := stranger.issue(name)
			return &forged, nil
		}})
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("a certificate of another authority is taken")
	}
}

func TestReloadCertificates(t *testing.T) {
	ca, folder := newAuthority(t, "server ca"), t.TempDir()
	files := writePair(t, folder, ca.issue("", "old.example"))
	h := start(t, func(c *Config, _ *shelf) { c.TLS = files })
	old := h.dialTLS(&tls.Config{RootCAs: ca.pool(), ServerName: "old.example"})
	apps := []App{{Name: "new", VerifyToken: "new", Secrets: []string{"new"}}}

	if err := os.WriteFile(files.Cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(apps, files); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Errorf("reload of a bad certificate: %v", err)
	}
	// Nothing has changed: neither the certificate nor the secrets.
	h.dialTLS(&tls.Config{RootCAs: ca.pool(), ServerName: "old.example"}).send(signed("x")).want(200)
	if err := h.Reload(apps, TLS{}); err == nil {
		t.Error("TLS turned off by a reload: no error")
	}

	writePair(t, folder, ca.issue("", "new.example"))
	if err := h.Reload(apps, files); err != nil {
		t.Fatal(err)
	}
	request := post(Sign("new", []byte("x")), "x")
	h.dialTLS(&tls.Config{RootCAs: ca.pool(), ServerName: "new.example"}).send(request).want(200)
	old.send(request).want(200)
}

func TestLoadTLSErrors(t *testing.T) {
	ca, folder := newAuthority(t, "ca"), t.TempDir()
	good := writePair(t, folder, ca.issue("x"))
	other := writePair(t, t.TempDir(), ca.issue("y"))
	empty := filepath.Join(folder, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]TLS{
		"tls.cert:":      {Cert: "/no/such", Key: good.Key},
		"tls.key:":       {Cert: good.Cert, Key: "/no/such"},
		"tls.cert and":   {Cert: good.Cert, Key: other.Key},
		"tls.client_ca:": {Cert: good.Cert, Key: good.Key, ClientCA: empty},
		"read tls.clien": {Cert: good.Cert, Key: good.Key, ClientCA: "/no/such"},
	} {
		if _, err := loadTLS(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("loadTLS(%+v): error %v does not name %q", files, err, want)
		}
	}
}
