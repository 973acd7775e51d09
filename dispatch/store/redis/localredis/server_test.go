package localredis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// testContext ends before the test's own time is up, so that a hang says where.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startServer(t *testing.T, opts Options) *Server {
	t.Helper()
	s, err := Start(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func clientOf(t *testing.T, s *Server) *goredis.Client {
	client := s.Client()
	t.Cleanup(func() { client.Close() })
	return client
}

func set(t *testing.T, s *Server, key, value string) {
	t.Helper()
	if err := clientOf(t, s).Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

// get returns a key's value, empty where it has none.
func get(t *testing.T, s *Server, key string) string {
	t.Helper()
	value, err := clientOf(t, s).Get(t.Context(), key).Result()
	if err != nil && err != goredis.Nil {
		t.Fatal(err)
	}
	return value
}

func TestRestartLoadsWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{AppendOnly: true, Fsync: "always"})
	addr, pid := s.Addr(), s.PID()
	set(t, s, "key", "kept")
	s.Kill()
	if s.PID() != 0 {
		t.Errorf("a killed server has process %d", s.PID())
	}
	if err := s.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if s.Addr() != addr || s.PID() == pid {
		t.Errorf("%s, process %d came back as %s, process %d", addr, pid, s.Addr(), s.PID())
	}
	if got := get(t, s, "key"); got != "kept" {
		t.Errorf("key is %q after a restart", got)
	}
}

func TestSavedIsKeptAndTheRestLost(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{})
	set(t, s, "early", "kept")
	if err := clientOf(t, s).Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	set(t, s, "late", "lost")
	if err := s.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if early, late := get(t, s, "early"), get(t, s, "late"); early != "kept" || late != "" {
		t.Errorf("early is %q, late is %q", early, late)
	}
}

func TestWipe(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{AppendOnly: true})
	set(t, s, "key", "gone")
	if err := s.Wipe(); err == nil {
		t.Error("a server that runs was wiped")
	}
	s.Kill()
	if err := s.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "key"); got != "" {
		t.Errorf("key is %q after a wipe", got)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{})
	ping := func() error {
		return s.ask(t.Context(), func(client *goredis.Client) error { return client.Ping(t.Context()).Err() })
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := ping(); err == nil {
		t.Error("a paused server answered")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := ping(); err != nil {
		t.Errorf("a resumed server: %v", err)
	}
	s.Kill()
	if err := s.Pause(); err == nil {
		t.Error("a killed server was paused")
	}
}

func TestOptionsReachTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{
		AppendOnly: true, Fsync: "always", MaxMemory: 64 << 20, Policy: "noeviction",
		Extra: []string{"set-max-intset-entries 1024"},
	})
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "maxmemory": "67108864", "maxmemory-policy": "noeviction",
		"set-max-intset-entries": "1024", "save": "", "bind": host,
	} {
		got, err := clientOf(t, s).ConfigGet(t.Context(), name).Result()
		if err != nil || got[name] != want {
			t.Errorf("%s is %q, want %q, %v", name, got[name], want, err)
		}
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	const password = `p"a\ss word`
	for _, name := range []string{"", "spillway"} {
		s := startServer(t, Options{Username: name, Password: password})
		set(t, s, "key", "value")
		stranger := goredis.NewClient(&goredis.Options{Addr: s.Addr()})
		err := stranger.Get(t.Context(), "key").Err()
		if err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
			t.Errorf("without a password: %v", err)
		}
		stranger.Close()
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	s := startServer(t, Options{CertFile: cert, KeyFile: key})
	set(t, s, "key", "value")
	plain := goredis.NewClient(&goredis.Options{Addr: s.Addr(), MaxRetries: -1})
	defer plain.Close()
	if err := plain.Ping(t.Context()).Err(); err == nil {
		t.Error("a client without TLS got an answer")
	}
}

// selfSigned makes the files of a certificate for loopback and its key.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(host)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(file, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", pkcs8)
}

func TestReplica(t *testing.T) {
	t.Parallel()
	opts := Options{Username: "spillway", Password: "secret"}
	primary := startServer(t, opts)
	set(t, primary, "key", "value")
	opts.ReplicaOf = primary.Addr()
	replica := startServer(t, opts)
	for ctx := testContext(t); get(t, replica, "key") != "value"; time.Sleep(askEvery) {
		if ctx.Err() != nil {
			t.Fatal("the replica never got the key")
		}
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	made := startServer(t, Options{})
	given := startServer(t, Options{Dir: filepath.Join(t.TempDir(), "of its own"), AppendOnly: true})
	set(t, given, "key", "value")
	for _, s := range []*Server{made, given} {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(made.dir); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is left: %v", err)
	}
	again := startServer(t, Options{Dir: given.dir, AppendOnly: true})
	if got := get(t, again, "key"); got != "value" {
		t.Errorf("key is %q in a server with the folder of another", got)
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts Options
		says string
	}{
		"option":   {Options{Fsync: "sometimes"}, `fsync "sometimes"`},
		"key":      {Options{CertFile: "cert.pem"}, "certificate and a key"},
		"user":     {Options{Username: "spillway"}, "needs a password"},
		"address":  {Options{ReplicaOf: "nowhere"}, "nowhere"},
		"setting":  {Options{Extra: []string{"no-such-setting 1"}}, "no-such-setting"},
		"folder":   {Options{Dir: "/dev/null"}, "not a directory"},
		"policy":   {Options{Policy: "random"}, "maxmemory-policy"},
		"cert":     {Options{CertFile: "/dev/null", KeyFile: "/dev/null"}, "no certificate"},
		"not here": {Options{CertFile: "/nowhere", KeyFile: "/nowhere"}, "no such file"},
	} {
		_, err := Start(testContext(t), test.opts)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStartHeedsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{}); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Error(err)
	}
}

func TestFindSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Find()
	if err == nil || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Error(err)
	}
}
