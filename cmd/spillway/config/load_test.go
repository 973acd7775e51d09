package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// secrets are the variables without which no config is valid.
var secrets = []string{"SPILLWAY_APP_SECRET=app", "SPILLWAY_VERIFY_TOKEN=token", "SPILLWAY_JWT_SECRET=jwt"}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, o Options) Config {
	t.Helper()
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mistakesOf gives the mistakes of a load, one text each.
func mistakesOf(t *testing.T, o Options) []string {
	t.Helper()
	_, err := Load(o)
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("Load gives %v, not mistakes", err)
	}
	var texts []string
	for _, m := range mistakes {
		if m.File != "" {
			m.File = "spillway.yaml"
		}
		texts = append(texts, m.String())
	}
	return texts
}

func TestDefaultsNeedOnlySecrets(t *testing.T) {
	c := mustLoad(t, Options{Environ: secrets})
	want := DefaultConfig()
	want.Apps = []App{{Name: "default", VerifyToken: "token", AppSecrets: []string{"app"}}}
	want.Stream.JWTSecret = "jwt"
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
}

func TestFileSetsEveryKey(t *testing.T) {
	c := mustLoad(t, Options{File: "testdata/full.yaml", Environ: []string{
		"VERIFY=v", "PREVIOUS=previous${VERIFY}", "SECRET=" + testSigningSecret}})
	other := DefaultEndpoint()
	other.Name, other.URL, other.Secrets, other.Rate = "other", "https://93.184.216.34", []string{testSigningSecret}, 0
	want := Config{
		Listen: "0.0.0.0:18080", Admin: "127.0.0.1:19090", Data: "/var/lib/spillway",
		Apps: []App{
			{Name: "first", VerifyToken: "v", AppSecrets: []string{"current", "0previous${VERIFY}", "0123"}},
			{Name: "second", VerifyToken: "a$b", AppSecrets: []string{"previous${VERIFY}"}},
		},
		TLS:     TLS{Cert: "cert.pem", Key: "key.pem", ClientCA: "ca.pem", ClientName: "client.example.com"},
		Tracing: Tracing{Endpoint: "https://collector.example.com/otlp", Ratio: 0.25},
		Limits:  Limits{Body: MiB, InFlight: 64 * MiB, Connections: 500, ReadTimeout: 90 * time.Second},
		Log:     Log{Retain: 48 * time.Hour, DeadRetain: 1440 * time.Hour, MaxBytes: 512 * GiB, MinFree: 512 * KiB},
		Redis: Redis{Addrs: []string{}, Username: "u", Password: "007", DB: 3, TLS: true, Prefix: "other",
			Partitions: 64, Refill: time.Hour},
		Dedupe:   Dedupe{Window: 200 * time.Hour},
		Contacts: Contacts{TTL: 8760 * time.Hour},
		Stream: Stream{JWTSecret: "of two\nlines", AllowedOrigins: []string{"https://example.com", "http://localhost:3000"},
			Sockets: 10, SocketsPerToken: 5, Queue: 20, Retain: 30, RetainBytes: 40 * MiB},
		Endpoints: []Endpoint{{
			Name: "crm_2", URL: "https://crm.example.com:8443/hook?key=v",
			Secrets: []string{"whsec_" + testSigningSecret, "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3"},
			Events:  []string{"message:new", "contact:*", "webhook:calls"}, PhoneNumberIDs: []string{"106540352242922", "0107"}, WABAIDs: []string{"102"},
			Headers: map[string]string{"Authorization": "Bearer v", "X-Number": "007"},
			Timeout: time.Second, Concurrency: 256, Rate: 50, RetryFor: 720 * time.Hour, Order: OrderNone, MaxWaiting: 10000000,
			AllowNets: []string{"10.0.0.0/8", "fd00::5/128"},
		}, other},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// sampleOf is a text that changes the field, and that is valid together with
// the defaults.
func sampleOf(t *testing.T, f field) string {
	t.Helper()
	switch f.key {
	case "listen", "admin":
		return "127.0.0.1:7070"
	case "redis.addrs":
		return "127.0.0.1:1, 127.0.0.1:2"
	case "stream.jwt_public_key":
		return testPublicKey
	case "stream.allowed_origins":
		return "https://a.example, https://b.example"
	}
	switch f.value.Interface().(type) {
	case string:
		return "changed"
	case bool:
		return "true"
	case int:
		return "77"
	case float64:
		return "0.25"
	case time.Duration:
		if f.key == "limits.read_timeout" {
			return "1m1s"
		}
		return "25h1s"
	case Size:
		return "5MiB"
	}
	t.Fatalf("%s: no sample for %s", f.key, f.value.Type())
	return ""
}

func TestEveryScalarHasAVariable(t *testing.T) {
	for i, f := range fields(&Config{}) {
		t.Run(f.variable(), func(t *testing.T) {
			text := sampleOf(t, f)
			c, _ := Load(Options{Environ: []string{f.variable() + "=" + text}})
			got := fields(&c)[i]
			want, err := parse(f.value.Type(), text)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.value.Interface(), want.Interface()) {
				t.Errorf("%s: got %v, want %v", f.key, got.value, want)
			}
			defaults := DefaultConfig()
			if reflect.DeepEqual(fields(&defaults)[i].value.Interface(), want.Interface()) {
				t.Errorf("%s: the sample is the default: nothing is shown", f.key)
			}
		})
	}
}

// TestVariableNames holds the names that are promised.
func TestVariableNames(t *testing.T) {
	var names []string
	for _, f := range fields(&Config{}) {
		names = append(names, f.variable())
	}
	if len(names) != 37 {
		t.Errorf("there are %d settings: %v", len(names), names)
	}
	for _, promised := range []string{"SPILLWAY_LISTEN", "SPILLWAY_ADMIN", "SPILLWAY_DATA", "SPILLWAY_LOG_RETAIN",
		"SPILLWAY_REDIS_ADDRS", "SPILLWAY_JWT_SECRET", "SPILLWAY_LIMITS_IN_FLIGHT", "SPILLWAY_STREAM_ALLOWED_ORIGINS",
		"SPILLWAY_TLS_CLIENT_CA", "SPILLWAY_CONTACTS_TTL", "SPILLWAY_DEDUPE_WINDOW"} {
		if !slices.Contains(names, promised) {
			t.Errorf("%s is missing", promised)
		}
	}
}

// TestColonsWithinBraces: message:new is a text, wherever it stands.
func TestColonsWithinBraces(t *testing.T) {
	read := func(item string) []string {
		l := &loader{config: DefaultConfig(), lookup: lookupIn(nil), origins: map[string]Origin{}}
		l.readYAML([]byte("endpoints: [{name: a, events: [" + item + ", last]}]\n"))
		if len(l.mistakes) > 0 {
			return nil
		}
		return l.config.Endpoints[0].Events
	}
	for item, want := range map[string]string{
		"message:new": "message:new", "10.0.0.5:6379": "10.0.0.5:6379", "a:b:c": "a:b:c", "é:x": "é:x", "fd00::5/128": "fd00::5/128", "0x1:007": "0x1:007",
		`"a:b"`: "a:b", "'a: b'": "a: b",
	} {
		if got := read(item); !slices.Equal(got, []string{want, "last"}) {
			t.Errorf("%s is read as %q", item, got)
		}
	}
	for _, item := range []string{"a: b", `"a":b`, `a:"b"`, "a :b", "a:{b: c}", "a:[b]"} {
		if got := read(item); got != nil {
			t.Errorf("%s is read as %q", item, got)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	c := mustLoad(t, Options{WithoutSecrets: true, Environ: []string{"SPILLWAY_LOG_FAILOVER_DIR=data/failover"}})
	if len(c.Apps) > 0 || c.Stream.JWTSecret != "" || c.Log.FailoverDir != "data/failover" {
		t.Errorf("got %+v", c)
	}
	if got := mistakesOf(t, Options{WithoutSecrets: true, Environ: []string{"SPILLWAY_LOG_RETAIN=x"}}); len(got) != 1 {
		t.Errorf("got %q, want one mistake", got)
	}
}

func TestOrder(t *testing.T) {
	file := writeFile(t, "listen: 127.0.0.1:2\n")
	variable := append(slices.Clone(secrets), "SPILLWAY_LISTEN=127.0.0.1:3")
	flags := map[string]string{"listen": "127.0.0.1:4"}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"default", Options{Environ: secrets}, "127.0.0.1:8080"},
		{"file over default", Options{Environ: secrets, File: file}, "127.0.0.1:2"},
		{"variable over file", Options{Environ: variable, File: file}, "127.0.0.1:3"},
		{"flag over variable", Options{Environ: variable, File: file, Flags: flags}, "127.0.0.1:4"},
		{"empty variable is not set", Options{Environ: append(slices.Clone(secrets), "SPILLWAY_LISTEN="), File: file}, "127.0.0.1:2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mustLoad(t, test.o).Listen; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAppVariables(t *testing.T) {
	const two = `
apps:
  - {name: other, verify_token: o, app_secrets: [x]}
  - {name: default, verify_token: d, app_secrets: [old]}
stream: {jwt_secret: j}
`
	const other = "apps: [{name: other, verify_token: o, app_secrets: [x]}]\nstream: {jwt_secret: j}\n"
	tests := []struct {
		name, file string
		environ    []string
		want       []App
	}{
		{"override secrets of the app in the file", two, []string{"SPILLWAY_APP_SECRET=new, old"},
			[]App{{"other", "o", []string{"x"}}, {"default", "d", []string{"new", "old"}}}},
		{"override the token, commas and all", two, []string{"SPILLWAY_VERIFY_TOKEN=a,b"},
			[]App{{"other", "o", []string{"x"}}, {"default", "a,b", []string{"old"}}}},
		{"add beside another app", other, secrets,
			[]App{{"other", "o", []string{"x"}}, {"default", "token", []string{"app"}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := mustLoad(t, Options{File: writeFile(t, test.file), Environ: test.environ})
			if !reflect.DeepEqual(c.Apps, test.want) {
				t.Errorf("got %+v, want %+v", c.Apps, test.want)
			}
		})
	}
}

func TestValidateByHand(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err == nil {
		t.Error("defaults without secrets are valid")
	}
	c.Apps = []App{{Name: "a", VerifyToken: "v", AppSecrets: []string{"s"}}}
	c.Stream.JWTSecret = "j"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Limits.Body, c.Redis.Partitions = 0, 101
	c.Dev, c.Listen = true, ":8080"
	e := DefaultEndpoint()
	e.Name, e.URL, e.Secrets, e.Timeout = "a", "https://example.com", []string{testSigningSecret}, time.Hour
	c.Endpoints = []Endpoint{e}
	var mistakes Mistakes
	if err := c.Validate(); !errors.As(err, &mistakes) || len(mistakes) != 4 {
		t.Errorf("got %v, want four mistakes", err)
	}
}
