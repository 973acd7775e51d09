package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/dispatch/store/redis/localredis"
)

func open(t *testing.T, cfg Config, logs *strings.Builder) (*Store, error) {
	t.Helper()
	return Open(t.Context(), cfg, slog.New(slog.NewTextHandler(logs, nil)), prometheus.NewRegistry())
}

func TestLayoutMismatch(t *testing.T) {
	server := startServer(t, localredis.Options{})
	cfg := testConfig(server.Addr())
	report, err := Inspect(t.Context(), cfg)
	if err != nil || report.Made {
		t.Fatalf("an empty server: %+v, %v", report, err)
	}
	mustOpen(t, cfg)
	if report, err = Inspect(t.Context(), cfg); err != nil || !report.Made {
		t.Errorf("a store: %+v, %v", report, err)
	}
	cfg.Partitions = 16
	for name, err := range map[string]error{
		"open":    func() error { _, err := open(t, cfg, new(strings.Builder)); return err }(),
		"inspect": func() error { _, err := Inspect(t.Context(), cfg); return err }(),
	} {
		if !IsMismatch(err) || !strings.Contains(err.Error(), "redis.partitions: 8, and the setting is 16: set it to 8") {
			t.Errorf("%s with another number of partitions: %v", name, err)
		}
	}
	cfg.Prefix = "other"
	mustOpen(t, cfg)
}

// TestOtherLayoutAppears: the store was emptied, and another receiver with other
// settings was there first.
func TestOtherLayoutAppears(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	cfg := testConfig(server.Addr())
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	s := mustOpen(t, cfg)
	client.FlushAll(t.Context())
	other := testConfig(server.Addr())
	other.Partitions = 4
	mustOpen(t, other)
	source := store.Source{Node: "n", Lane: "bulk"}
	for range 2 { // the first finds the store empty
		_, _ = s.Cursors(t.Context(), source)
	}
	select {
	case err := <-fatal:
		if !IsMismatch(err) {
			t.Error(err)
		}
	default:
		t.Error("nobody noticed")
	}
}

func TestIsTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"6.0.16": true, "5.0.14": true, "6.1.240": true, "6.2.0": false, "7.0.15": false, "7.2.4": false, "10.0.0": false,
		"": false, "unknown": false,
	} {
		if got := isTooOld(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// TestOpenWhileAway: a store opens without its server, and works once it is there.
func TestOpenWhileAway(t *testing.T) {
	server := startServer(t, localredis.Options{})
	server.Kill()
	var logs strings.Builder
	s, err := open(t, testConfig(server.Addr()), &logs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !strings.Contains(logs.String(), "redis does not answer") {
		t.Errorf("logged: %s", logs.String())
	}
	source := store.Source{Node: "n", Lane: "bulk"}
	if _, err := s.Cursors(t.Context(), source); err == nil {
		t.Error("cursors of a server that is away")
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cursors", func() bool { _, err := s.Cursors(t.Context(), source); return err == nil })
}

// TestTimeouts: what a server does not answer in time is counted as that.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	server := startServer(t, localredis.Options{})
	s := mustOpen(t, testConfig(server.Addr()))
	source := store.Source{Node: "n", Lane: "bulk"}
	if _, err := s.Cursors(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Cursors(ctx, source); err == nil {
		t.Error("a server that stands still answers")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(s.metrics.timeouts.WithLabelValues(opCursors)); got != 1 {
		t.Errorf("%v time-outs are counted; want 1", got)
	}
	if got := testutil.ToFloat64(s.metrics.dials); got < 1 {
		t.Errorf("%v connections are counted", got)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestWarnings(t *testing.T) {
	server := startServer(t, localredis.Options{MaxMemory: 64 << 20, Policy: "allkeys-lru"})
	report, err := Inspect(t.Context(), testConfig(server.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(report.Warnings, "\n")
	for _, want := range []string{"maxmemory-policy is allkeys-lru", "keeps nothing on disk"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning that it %s: %s", want, all)
		}
	}
	good := startServer(t, localredis.Options{AppendOnly: true})
	if report, err := Inspect(t.Context(), testConfig(good.Addr())); err != nil || len(report.Warnings) > 0 {
		t.Errorf("a good server: %+v, %v", report, err)
	}
}

// TestAccess: an ACL user, and TLS with a certificate that is trusted or not.
func TestAccess(t *testing.T) {
	source := store.Source{Node: "n", Lane: "bulk"}
	works := func(cfg Config) error {
		var logs strings.Builder
		s, err := open(t, cfg, &logs)
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		if strings.Contains(logs.String(), "s3cret") {
			t.Errorf("a secret was logged: %s", logs.String())
		}
		if _, err := s.Cursors(t.Context(), source); err != nil {
			return err
		}
		if _, _, err := s.Bounds(t.Context()); err != nil {
			return err
		}
		if _, err := s.Members(t.Context(), "a", time.Minute); err != nil {
			return err
		}
		lease := mustAcquire(t, s, crm, "a")
		park(t, s, &lease, 1)
		_, err = s.Apply(t.Context(), &store.Batch{
			Source: source, To: store.Cursor{Seq: 1, Hash: 1},
			Events: []event.Event{{Type: "webhook:x", Identity: "1", Received: time.Now(), Payload: []byte("{}")}},
		})
		return err
	}
	user := startServer(t, localredis.Options{Username: "spillway", Password: "s3cret"})
	cfg := testConfig(user.Addr())
	if err := works(cfg); err == nil {
		t.Error("no user was let in")
	}
	cfg.Username, cfg.Password = "spillway", "wrong s3cret"
	if err := works(cfg); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a wrong password: %v", err)
	}
	cfg.Password = "s3cret"
	if err := works(cfg); err != nil {
		t.Errorf("the right password: %v", err)
	}

	// What the README says that a user needs.
	limited := startServer(t, localredis.Options{Extra: []string{
		"user limited on >s3cret ~spillway:* +@read +@write +@scripting +@connection +time +cluster +info +config|get",
	}})
	cfg = testConfig(limited.Addr())
	cfg.Username, cfg.Password = "limited", "s3cret"
	if err := works(cfg); err != nil {
		t.Errorf("a limited user: %v", err)
	}
	if report, err := Inspect(t.Context(), cfg); err != nil || len(report.Warnings) == 0 {
		t.Errorf("a limited user sees %+v, %v", report, err)
	}

	cert, key := certificate(t)
	secure := startServer(t, localredis.Options{CertFile: cert, KeyFile: key})
	cfg = testConfig(secure.Addr())
	cfg.TLS = true
	if err := works(cfg); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	cfg.RootCAs = pool(t, cert)
	if err := works(cfg); err != nil {
		t.Errorf("a certificate that is trusted: %v", err)
	}
}

func pool(t *testing.T, cert string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(text)
	return p
}

// certificate makes a certificate for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestScriptsAreForgotten: a server that has flushed its scripts is sent them.
func TestScriptsAreForgotten(t *testing.T) {
	server := startServer(t, localredis.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := mustOpen(t, testConfig(server.Addr()))
	from := store.Cursor{}
	for i := range 3 {
		if err := client.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		to := store.Cursor{Seq: from.Seq + 1, Hash: 1}
		r, err := s.Apply(t.Context(), &store.Batch{Source: store.Source{Node: "n", Lane: "bulk"}, From: from, To: to})
		if err != nil || !r.Applied {
			t.Fatalf("batch %d: %+v, %v", i, r, err)
		}
		from = to
	}
}
