package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spillway/cmd/spillway/config"
	"spillway/wal"
)

// checkOptions are the variables of a config that checks out, over data.
func checkOptions(data string, more ...string) config.Options {
	return config.Options{Environ: append([]string{
		"SPILLWAY_APP_SECRET=a", "SPILLWAY_VERIFY_TOKEN=v", "SPILLWAY_JWT_SECRET=0123456789abcdef0123456789abcdef",
		"SPILLWAY_LISTEN=127.0.0.1:0", "SPILLWAY_ADMIN=127.0.0.1:0", "SPILLWAY_DATA=" + data,
		"SPILLWAY_LOG_MAX_BYTES=1MiB", "SPILLWAY_LOG_MIN_FREE=1MiB", "SPILLWAY_LIMITS_CONNECTIONS=10", "SPILLWAY_STREAM_SOCKETS=10",
	}, more...)}
}

// resultOf gives the result and the detail of the check of that name.
func resultOf(t *testing.T, all []finding, name string) (result, detail string) {
	t.Helper()
	for _, f := range all {
		if f.Name == name {
			return f.Result, f.Detail
		}
	}
	t.Fatalf("no check of %s in %+v", name, all)
	return "", ""
}

func TestCheckFinds(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := makeCertificate(t, time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour))
	tests := []struct {
		name, data string
		environ    []string
		check      string
		result     string
		detail     string
	}{
		{name: "config", check: "config", result: resultOK, detail: "defaults and variables"},
		{name: "secrets", environ: []string{"SPILLWAY_APP_SECRET=current,previous"}, check: "apps", result: resultOK, detail: "default (2)"},
		{name: "weak secret", environ: []string{"SPILLWAY_JWT_SECRET=weak"}, check: "stream.jwt_secret", result: resultWarn, detail: "has 4 bytes"},
		{name: "strong secret", check: "stream.jwt_secret", result: resultOK, detail: "32 bytes"},
		{name: "writable", check: "data", result: resultOK, detail: "is writable"},
		{name: "latency", check: "disk", result: "", detail: "a synced write takes "},
		{name: "folder to be made", data: "a/b", check: "data", result: resultOK, detail: "will be made in"},
		{name: "data is a file", data: "file", check: "data", result: resultFail, detail: "cannot be written: not a directory"},
		{name: "enough space", check: "log.max_bytes", result: resultOK, detail: "1MiB at most"},
		{name: "little space", environ: []string{"SPILLWAY_LOG_MAX_BYTES=1024TiB"}, check: "log.max_bytes", result: resultWarn, detail: "full before the log is"},
		{name: "too little space", environ: []string{"SPILLWAY_LOG_MIN_FREE=1024TiB"}, check: "log.min_free", result: resultFail, detail: "webhooks would be refused"},
		{name: "failover on the same disk", environ: []string{"SPILLWAY_LOG_FAILOVER_DIR=" + filepath.Join(filepath.Dir(file), "other")}, check: "log.failover_dir",
			result: resultWarn, detail: "other will be made in " + filepath.Dir(file) + " is on the disk of data"},
		{name: "failover to a file", environ: []string{"SPILLWAY_LOG_FAILOVER_DIR=" + file}, check: "log.failover_dir", result: resultFail, detail: "cannot be written: not a directory"},
		{name: "no TLS", check: "tls", result: resultOK, detail: "off"},
		{name: "TLS", environ: []string{"SPILLWAY_TLS_CERT=" + cert, "SPILLWAY_TLS_KEY=" + key}, check: "tls.cert", result: resultOK, detail: "valid until"},
		{name: "no certificate", environ: []string{"SPILLWAY_TLS_CERT=/nowhere", "SPILLWAY_TLS_KEY=" + key}, check: "tls.cert", result: resultFail, detail: "no such file"},
		{name: "client CA", environ: []string{"SPILLWAY_TLS_CERT=" + cert, "SPILLWAY_TLS_KEY=" + key, "SPILLWAY_TLS_CLIENT_CA=" + cert},
			check: "tls.client_ca", result: resultOK, detail: "client.webhooks.fbclientcerts.com"},
		{name: "bad client CA", environ: []string{"SPILLWAY_TLS_CERT=" + cert, "SPILLWAY_TLS_KEY=" + key, "SPILLWAY_TLS_CLIENT_CA=" + file},
			check: "tls.client_ca", result: resultFail, detail: "no certificate in PEM"},
		{name: "free address", check: "listen", result: resultOK, detail: "is free"},
		{name: "used address", environ: []string{"SPILLWAY_ADMIN=" + used.Addr().String()}, check: "admin", result: resultWarn, detail: "in use"},
		{name: "address of another machine", environ: []string{"SPILLWAY_LISTEN=192.0.2.1:80"}, check: "listen", result: resultFail, detail: "192.0.2.1:80"},
		{name: "enough files", check: "open files", result: resultOK, detail: "enough for 532"},
		{name: "too many sockets", environ: []string{"SPILLWAY_STREAM_SOCKETS=1000000", "SPILLWAY_LIMITS_CONNECTIONS=1000000"}, check: "open files", result: "", detail: "2000512"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := t.TempDir()
			if test.data == "file" {
				data = file
			} else {
				data = filepath.Join(data, test.data)
			}
			result, detail := resultOf(t, findings(checkOptions(data, test.environ...)), test.check)
			if test.result != "" && result != test.result || !strings.Contains(detail, test.detail) {
				t.Errorf("got %s: %s", result, detail)
			}
			if left, _ := filepath.Glob(filepath.Join(data, ".spillway-check*")); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// TestCheckFailoverUnmounted has a folder that may hold records and is empty, as
// where its disk is not mounted.
func TestCheckFailoverUnmounted(t *testing.T) {
	data, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	c := wal.DefaultConfig()
	c.Dir, c.FailoverDir, c.MinFree = filepath.Join(data, "log"), other, 0
	l, err := wal.Open(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	options := checkOptions(data, "SPILLWAY_LOG_FAILOVER_DIR="+other)
	if result, detail := resultOf(t, findings(options), "log.failover_dir"); result == resultFail {
		t.Errorf("while it is in use: %s", detail)
	}
	if err := errors.Join(l.Close(), os.RemoveAll(other)); err != nil {
		t.Fatal(err)
	}
	result, detail := resultOf(t, findings(options), "log.failover_dir")
	if result != resultFail || !strings.Contains(detail, "is its disk mounted?") {
		t.Errorf("got %s: %s", result, detail)
	}
}

func TestCheckCommand(t *testing.T) {
	without(t)
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	text := "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndata: " + t.TempDir() + "\napps: [{name: a, verify_token: v, app_secrets: [hidden]}]\n" +
		"stream: {jwt_secret: hidden}\nlog: {min_free: 0}\n" +
		"endpoints:\n  - {name: crm, url: \"https://crm.example.com:8443/hidden?k=hidden\", secrets: [\"" + testSigningSecret + "\"], headers: {X-A: hidden}}\n" +
		"  - {name: bot, url: \"https://bot.example.com\", secrets: [" + testSigningSecret + ", whsec_" + testSigningSecret + "], events: [message:new, \"contact:*\"]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := spillway(t, "", "check", "--config", file)
	if got.code != exitOK || got.stderr != "" || !strings.HasPrefix(got.stdout, "ok    config: "+file+"\n") {
		t.Errorf("got %+v", got)
	}
	all := decodeLines[finding](t, spillway(t, "", "check", "--json", "--config", file).stdout)
	if result, _ := resultOf(t, all, "stream.jwt_secret"); result != resultWarn || len(all) != strings.Count(got.stdout, "\n") {
		t.Errorf("got %+v", all)
	}
	if strings.Contains(got.stdout, "hidden") || strings.Contains(got.stdout, testSigningSecret) {
		t.Error("a secret is shown")
	}
	for name, want := range map[string]string{
		"endpoint crm": "crm.example.com:8443, secrets: 1, all events",
		"endpoint bot": "bot.example.com, secrets: 2, message:new, contact:*",
	} {
		if result, detail := resultOf(t, all, name); result != resultOK || detail != want {
			t.Errorf("%s: %s %s, want %s", name, result, detail, want)
		}
	}

	if err := os.WriteFile(file, []byte("listen: 1\nadmn: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got = spillway(t, "", "check", "--config", file)
	if got.code != exitFailure || strings.Count(got.stdout, "FAIL  config: ") != 4 || got.stderr != "spillway: 4 checks failed\n" {
		t.Errorf("got %+v", got)
	}
}

func TestCheckDates(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, test := range []struct {
		from, until time.Duration
		result      string
		detail      string
	}{
		{-90 * day, 60 * day, resultOK, "valid until 2026-06-30"},
		{-90 * day, 13 * day, resultWarn, "expires on 2026-05-14"},
		{-90 * day, -day, resultFail, "expired on 2026-04-30"},
		{day, 90 * day, resultFail, "is not valid before 2026-05-02"},
	} {
		got := checkDates("tls.cert", &x509.Certificate{NotBefore: now.Add(test.from), NotAfter: now.Add(test.until)}, now)
		if got.Result != test.result || got.Detail != test.detail {
			t.Errorf("got %+v, want %s %s", got, test.result, test.detail)
		}
	}
}

// makeCertificate writes a self-signed certificate and its key.
func makeCertificate(t *testing.T, from, until time.Time) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
