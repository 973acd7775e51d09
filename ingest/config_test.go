package ingest

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := testConfig().Validate(); err != nil {
		t.Fatalf("a good config: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"listen:":                       func(c *Config) { c.Listen = "8080" },
		"limits.body:":                  func(c *Config) { c.MaxBody = 65 << 20 },
		"limits.in_flight:":             func(c *Config) { c.MaxInFlight = c.MaxBody },
		"limits.connections:":           func(c *Config) { c.MaxConnections = 0 },
		"limits.read_timeout:":          func(c *Config) { c.ReadTimeout = time.Hour },
		"timeouts must":                 func(c *Config) { c.IdleTimeout = 0 },
		"apps:":                         func(c *Config) { c.Apps = nil },
		"apps[0].name:":                 func(c *Config) { c.Apps[0].Name = "" },
		"apps[1].name: \"default\"":     func(c *Config) { c.Apps[1].Name = "default" },
		"apps[1].verify_token:":         func(c *Config) { c.Apps[1].VerifyToken = "" },
		"apps[0].app_secrets:":          func(c *Config) { c.Apps[0].Secrets = nil },
		"apps[0].app_secrets[1]: must":  func(c *Config) { c.Apps[0].Secrets[1] = "line\n" },
		"tls.cert:":                     func(c *Config) { c.TLS.Key = "k" },
		"tls.key:":                      func(c *Config) { c.TLS.Cert = "c" },
		"tls.client_ca:":                func(c *Config) { c.TLS.ClientCA = "ca" },
		"tls.client_name: must be set ": func(c *Config) { c.TLS = TLS{Cert: "c", Key: "k", ClientCA: "ca"} },
	} {
		cfg := testConfig()
		change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not hold %q", err, want)
		} else if strings.Contains(err.Error(), "line") {
			t.Errorf("error %v shows a secret", err)
		}
	}
	var empty Config
	if err := empty.Validate(); err == nil || strings.Count(err.Error(), "\n") < 4 {
		t.Errorf("not all mistakes at once: %v", err)
	}
}

func TestFileLimitWarning(t *testing.T) {
	for name, test := range map[string]struct {
		extra int
		warns bool
	}{
		"enough":  {0, false},
		"too few": {1 << 40, true},
	} {
		var logs bytes.Buffer
		cfg := testConfig()
		cfg.MaxConnections, cfg.ExtraFiles = 1, test.extra
		s := &Server{cfg: cfg, logger: slog.New(slog.NewTextHandler(&logs, nil))}
		s.checkFiles()
		if got := strings.Contains(logs.String(), "limits.connections"); got != test.warns {
			t.Errorf("%s: logged %q", name, logs.String())
		}
	}
}
