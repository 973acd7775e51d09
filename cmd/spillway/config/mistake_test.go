package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAllMistakesAtOnce(t *testing.T) {
	const golden = "testdata/mistakes.golden"
	got := strings.Join(mistakesOf(t, Options{
		File: "testdata/mistakes.yaml",
		Environ: []string{"SPILLWAY_LOG_RETAIN=soon", "SPILLWAY_LISTN=:80", "SPILLWAY_STREAM_JWT_SECRET=hidden",
			"SPILLWAY_PORT=tcp://10.0.0.1:80", "SPILLWAY_SERVICE_HOST=10.0.0.1"},
		Flags: map[string]string{"admin": "nowhere"},
	}), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, secret := range []string{"short and secret", "hidden"} {
		if strings.Contains(got, secret) {
			t.Errorf("a secret is shown: %q", secret)
		}
	}
}

func TestMistakes(t *testing.T) {
	const valid = "apps: [{name: a, verify_token: v, app_secrets: [s]}]\n"
	tests := []struct {
		name, file string
		environ    []string
		flags      map[string]string
		want       []string
	}{
		{name: "nothing set", want: []string{
			"apps: no app is set; allowed: an app with verify_token and app_secrets, or SPILLWAY_APP_SECRET and SPILLWAY_VERIFY_TOKEN",
			"stream.jwt_secret: is missing; allowed: the secret that tokens are signed with, here or in SPILLWAY_JWT_SECRET; or stream.jwt_public_key"}},
		{name: "half an app by variables", environ: []string{"SPILLWAY_APP_SECRET=s", "SPILLWAY_JWT_SECRET=j"}, want: []string{
			"apps[0].verify_token: is missing; allowed: the verify token of the app, or SPILLWAY_VERIFY_TOKEN"}},
		{name: "not YAML", file: "listen: [\n", environ: secrets, want: []string{
			"spillway.yaml:1: is not YAML: sequence end token ']' not found"}},
		{name: "expansion within braces", file: "stream: {jwt_secret: ${X}}\n", environ: secrets, want: []string{
			"spillway.yaml:1: is not YAML: ',' or '}' must be specified; allowed: within {} and [] write \"${NAME}\", with the quotes"}},
		{name: "pattern within braces", file: "endpoints: [{events: [message:*]}]\n", environ: secrets, want: []string{
			"spillway.yaml:1: is not YAML: unexpected scalar value type; allowed: within {} and [] write \"message:*\" or \"*\", with the quotes"}},
		{name: "two documents", file: "listen: :80\n---\nlisten: :81\n", environ: secrets, want: []string{
			"spillway.yaml:3: a second document; allowed: one YAML document"}},
		{name: "a list at the top", file: "- a\n", environ: secrets, want: []string{
			"spillway.yaml:1: is not a section; allowed: the keys listen, admin, data, apps, tls, limits, log, redis, dedupe, contacts, stream, tracing, endpoints"}},
		{name: "variable", environ: append(slices.Clone(secrets), "SPILLWAY_LIMITS_BODY=4MB"), want: []string{
			`SPILLWAY_LIMITS_BODY (limits.body): "4MB" is not allowed; allowed: a size such as 65536, 512KiB, 64MiB or 20GiB, from 1KiB to 32MiB`}},
		{name: "flag", environ: secrets, flags: map[string]string{"listen": "8080"}, want: []string{
			`--listen: "8080" is not an address; allowed: host:port such as 127.0.0.1:8080 or :8080`}},
		{name: "item of a list variable", environ: append(slices.Clone(secrets), "SPILLWAY_STREAM_ALLOWED_ORIGINS=*, x"),
			file: "stream: {allowed_origins: [a://b]}\n", want: []string{
				`SPILLWAY_STREAM_ALLOWED_ORIGINS (stream.allowed_origins[1]): "x" is not an origin; allowed: * or scheme://host[:port]`}},
		{name: "sockets per token", environ: append(slices.Clone(secrets), "SPILLWAY_STREAM_SOCKETS_PER_TOKEN=0"), want: []string{
			"SPILLWAY_STREAM_SOCKETS_PER_TOKEN (stream.sockets_per_token): \"0\" is not allowed; allowed: a whole number, from 1 to 1000000"}},
		{name: "database of a cluster", environ: append(slices.Clone(secrets), "SPILLWAY_REDIS_ADDRS=127.0.0.1:1,127.0.0.1:2", "SPILLWAY_REDIS_DB=3"), want: []string{
			"SPILLWAY_REDIS_DB (redis.db): 3 is not allowed with several redis.addrs, which are a Cluster's; allowed: 0: a Cluster has one database"}},
		{name: "user without a password", environ: append(slices.Clone(secrets), "SPILLWAY_REDIS_ADDRS=127.0.0.1:1", "SPILLWAY_REDIS_USERNAME=u"), want: []string{
			"redis.password: is missing; allowed: the password of redis.username"}},
		{name: "failover to the data", environ: append(slices.Clone(secrets), "SPILLWAY_DATA=/d/", "SPILLWAY_LOG_FAILOVER_DIR=/d/x/.."), want: []string{
			"SPILLWAY_LOG_FAILOVER_DIR (log.failover_dir): is the same as data; allowed: a folder of its own, on another disk"}},
		{name: "failover to the log", environ: append(slices.Clone(secrets), "SPILLWAY_LOG_FAILOVER_DIR=data/log"), want: []string{
			"SPILLWAY_LOG_FAILOVER_DIR (log.failover_dir): is within data/log, where the log is; allowed: a folder of its own, on another disk"}},
		{name: "failover below the store", environ: append(slices.Clone(secrets), "SPILLWAY_DATA=/d", "SPILLWAY_LOG_FAILOVER_DIR=/d/store/x"), want: []string{
			"SPILLWAY_LOG_FAILOVER_DIR (log.failover_dir): is within /d/store, where the store is; allowed: a folder of its own, on another disk"}},
		{name: "a missing token has the line of its app", file: "apps:\n  - name: a\n    app_secrets: [s]\n", environ: secrets[2:], want: []string{
			"spillway.yaml:2: apps[0].verify_token: is missing; allowed: the verify token of the app"}},
		{name: "both keys", file: valid, environ: append(slices.Clone(secrets), "SPILLWAY_STREAM_JWT_PUBLIC_KEY="+testPublicKey), want: []string{
			"SPILLWAY_STREAM_JWT_PUBLIC_KEY (stream.jwt_public_key): is set together with stream.jwt_secret; allowed: one of them: it decides the algorithm"}},
		{name: "a bad key is not a missing one too", file: valid, environ: []string{"SPILLWAY_STREAM_JWT_PUBLIC_KEY=x"}, want: []string{
			"SPILLWAY_STREAM_JWT_PUBLIC_KEY (stream.jwt_public_key): is not a public key; allowed: PEM of a public key: RSA of 2048 bits or more, P-256 or Ed25519"}},
		{name: "secrets with a newline", file: "apps:\n  - name: a\n    verify_token: 'v '\n    app_secrets:\n      - s\n      - |\n        hidden\n", environ: []string{"SPILLWAY_JWT_SECRET=j\n"}, want: []string{
			"spillway.yaml:3: apps[0].verify_token: begins or ends with white space; allowed: the secret alone",
			"spillway.yaml:6: apps[0].app_secrets[1]: begins or ends with white space; allowed: the secret alone",
			"SPILLWAY_JWT_SECRET (stream.jwt_secret): begins or ends with white space; allowed: the secret alone"}},
		{name: "same address", environ: append(slices.Clone(secrets), "SPILLWAY_ADMIN=127.0.0.1:8080"), want: []string{
			"SPILLWAY_ADMIN (admin): is the same as listen; allowed: an address of its own: it must not be public"}},
		{name: "client CA without a certificate", environ: append(slices.Clone(secrets), "SPILLWAY_TLS_CLIENT_CA=ca.pem"), want: []string{
			"SPILLWAY_TLS_CLIENT_CA (tls.client_ca): needs tls.cert and tls.key; allowed: all three, or none"}},
		{name: "master alone", environ: append(slices.Clone(secrets), "SPILLWAY_REDIS_MASTER=m"), want: []string{
			"SPILLWAY_REDIS_MASTER (redis.master): needs redis.addrs; allowed: the addresses of the Sentinels in redis.addrs"}},
		{name: "in flight below body", environ: append(slices.Clone(secrets), "SPILLWAY_LIMITS_IN_FLIGHT=2MiB"), want: []string{
			"SPILLWAY_LIMITS_IN_FLIGHT (limits.in_flight): 2MiB is less than two bodies of limits.body, 4MiB; allowed: twice limits.body, or more"}},
		{name: "contacts gone within the day", environ: append(slices.Clone(secrets), "SPILLWAY_CONTACTS_TTL=1h"), want: []string{
			"SPILLWAY_CONTACTS_TTL (contacts.ttl): 1h0m0s is not allowed; allowed: 0 to keep contacts for good, or 24h and more"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Environ: test.environ, Flags: test.flags}
			if test.file != "" {
				o.File = writeFile(t, test.file)
			}
			if got := mistakesOf(t, o); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	got := mistakesOf(t, Options{File: path})
	want := []string{"spillway.yaml: cannot be read: no such file or directory"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryRangeIsHeld(t *testing.T) {
	checked := 0
	for _, f := range fields(&Config{}) {
		low, high, ok := f.bounds()
		if !ok {
			continue
		}
		checked++
		for _, bound := range []struct {
			text string
			ok   bool
		}{
			{textOf(low, 0), true}, {textOf(high, 0), true},
			{textOf(low, -1), false}, {textOf(high, 1), false}, {"", false}, {"x", false}, {"NaN", false},
		} {
			if problem, _ := f.set(bound.text); (problem == "") != bound.ok {
				t.Errorf("%s: %q: problem %q", f.key, bound.text, problem)
			}
		}
	}
	if checked < 18 {
		t.Errorf("only %d ranges", checked)
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"retain", "dead_retain", "max_bytes", "min_free"}
	for text, want := range map[string]string{
		"retian": "retain", "retain_": "retain", "maxbytes": "max_bytes", "dead-retain": "dead_retain", "x": "", "password": "",
	} {
		if got := nearest(text, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", text, got, want)
		}
	}
}
