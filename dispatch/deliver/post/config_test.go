package post

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestMistakesAreNamed(t *testing.T) {
	nets := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for want, change := range map[string]func(*Config){
		"url: want https://HOST[:PORT]/PATH":                      func(c *Config) { c.URL = "" },
		"url: want https://HOST":                                  func(c *Config) { c.URL = "ftp://example.com" },
		"url: want https://HOST[":                                 func(c *Config) { c.URL = "https:///path" },
		"url: want https":                                         func(c *Config) { c.URL = "https:example.com" },
		"url: missing protocol scheme":                            func(c *Config) { c.URL = "://x" },
		"url: a user or password in it is not allowed":            func(c *Config) { c.URL = "https://user:t0psecret@example.com" },
		"url: a fragment":                                         func(c *Config) { c.URL = "https://example.com/#x" },
		"url: port 65536 is not from 1 to 65535":                  func(c *Config) { c.URL = "https://example.com:65536" },
		"url: port 0 is":                                          func(c *Config) { c.URL = "https://example.com:0" },
		"url: http is not allowed: use https":                     func(c *Config) { c.URL = "http://localhost/" },
		"url: http is allowed to loopback alone":                  func(c *Config) { c.URL, c.AllowLoopback = "http://example.com/?t0psecret", true },
		"url: http is allowed to loopback":                        func(c *Config) { c.URL, c.AllowLoopback = "http://10.0.0.1/", true },
		"url: invalid URL escape":                                 func(c *Config) { c.URL = "https://example.com/%zz?t0psecret" },
		"secrets: at least one is needed":                         func(c *Config) { c.Secrets = nil },
		"secrets[1]: it is not base64":                            func(c *Config) { c.Secrets = append(c.Secrets, "t0psecret!") },
		"secrets[0]: it is 3 bytes, not 24 to 64":                 func(c *Config) { c.Secrets = []string{"whsec_AAAA"} },
		"timeout: -1s is not above 0 and at most 5m0s":            func(c *Config) { c.Timeout = -time.Second },
		"timeout: 5m1s is not":                                    func(c *Config) { c.Timeout = 301 * time.Second },
		"concurrency: 1001 is not from 1 to 1000":                 func(c *Config) { c.Concurrency = 1001 },
		"concurrency: -1 is":                                      func(c *Config) { c.Concurrency = -1 },
		"user agent: it holds a control character":                func(c *Config) { c.UserAgent = "a\nb" },
		"allowed networks: ::ffff:10.0.0.0/104 is not a":          func(c *Config) { c.AllowNets = nets("::ffff:10.0.0.0/104") },
		"allowed networks: invalid Prefix is not a network like ": func(c *Config) { c.AllowNets = []netip.Prefix{{}} },
		`headers: "a b" is not a header's name`:                   func(c *Config) { c.Headers = map[string]string{"a b": "x"} },
		`headers: "" is not`:                                      func(c *Config) { c.Headers = map[string]string{"": "x"} },
		"headers: the value of X-A holds a control character":     func(c *Config) { c.Headers = map[string]string{"X-A": "t0psecret\r\nHost: x"} },
		"headers: X-A is there twice":                             func(c *Config) { c.Headers = map[string]string{"X-A": "1", "x-a": "2"} },
		"headers: webhook-ID cannot be set":                       func(c *Config) { c.Headers = map[string]string{"webhook-ID": "x"} },
		"headers: Webhook-Anything cannot":                        func(c *Config) { c.Headers = map[string]string{"Webhook-Anything": "x"} },
		"headers: host cannot be set":                             func(c *Config) { c.Headers = map[string]string{"host": "x"} },
		"headers: content-LENGTH cannot be set":                   func(c *Config) { c.Headers = map[string]string{"content-LENGTH": "1"} },
		"headers: Transfer-Encoding cannot be set":                func(c *Config) { c.Headers = map[string]string{"Transfer-Encoding": "chunked"} },
		"headers: Connection cannot be set":                       func(c *Config) { c.Headers = map[string]string{"Connection": "close"} },
		"headers: Proxy-Authorization cannot be set":              func(c *Config) { c.Headers = map[string]string{"Proxy-Authorization": "x"} },
		"headers: X-Webhook-Signature cannot be set":              func(c *Config) { c.Headers = map[string]string{"X-Webhook-Signature": "x"} },
	} {
		cfg := Config{URL: "https://example.com/hook?t0psecret", Secrets: []string{secretOf("a")}}
		change(&cfg)
		s, err := New(cfg)
		if err == nil {
			s.Close()
			t.Errorf("taken, want %s", want)
			continue
		}
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %s\nwant %s", err, want)
		}
		if strings.Contains(err.Error(), "t0psecret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error tells a secret, or more than one mistake: %s", err)
		}
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := New(Config{URL: "http://example.com", Secrets: []string{"x", secretOf("a"), "y"}, Timeout: -1, Headers: map[string]string{"Host": "x", "Te": "x"}})
	if err == nil || strings.Count(err.Error(), "\n") != 5 {
		t.Errorf("want six mistakes: %v", err)
	}
}

func TestGoodConfigs(t *testing.T) {
	for _, cfg := range []Config{
		{URL: "https://example.com"},
		{URL: "HTTPS://example.com:/x?y=z"},
		{URL: "https://93.184.216.34:8443/"},
		{URL: "https://[2606:2800:220:1:248:1893:25c8:1946]/"},
		{URL: "https://bücher.example/"},
		{URL: "http://localhost:3000/", AllowLoopback: true},
		{URL: "http://[::1]:3000/", AllowLoopback: true},
		{URL: "https://127.0.0.1/", AllowLoopback: true},
		{URL: "https://10.1.2.3/", AllowNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{URL: "https://[::ffff:10.1.2.3]/", AllowNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{URL: "https://[fd12::1]/", AllowNets: []netip.Prefix{netip.MustParsePrefix("fd00::/8")}},
		{URL: "https://example.com", Headers: map[string]string{"Authorization": "x", "Accept": "*/*", "X-Tenant": "ü"}},
	} {
		cfg.Secrets = []string{secretOf("a")}
		if _, err := New(cfg); err != nil {
			t.Errorf("%s: %v", cfg.URL, err)
		}
	}
}
