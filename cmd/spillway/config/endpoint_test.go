package config

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// validateEndpoint gives the mistakes of an endpoint that is valid but for change.
func validateEndpoint(dev bool, change func(*Endpoint)) error {
	c := DefaultConfig()
	c.Dev = dev
	c.Apps = []App{{Name: "a", VerifyToken: "v", AppSecrets: []string{"s"}}}
	c.Stream.JWTSecret = "j"
	e := DefaultEndpoint()
	e.Name, e.URL, e.Secrets = "crm", "https://example.com", []string{testSigningSecret}
	change(&e)
	c.Endpoints = []Endpoint{e}
	return c.Validate()
}

func TestEndpointURLs(t *testing.T) {
	const always, withDev, never = 0, 1, 2
	for url, when := range map[string]int{
		"https://example.com": always, "https://example.com:8443/a/b?c=d": always, "HTTPS://EXAMPLE.com/": always, "https://93.184.216.34/": always,
		"https://[2606:4700::1111]:443/x": always, "https://localhost/": always, "https://xn--bcher-kva.example/": always,
		"http://localhost:3000/hook": withDev, "http://127.0.0.1:3000": withDev, "http://127.9.9.9": withDev, "http://[::1]:3000/": withDev,
		"https://127.0.0.1": withDev, "https://[::1]/": withDev, "https://[::ffff:127.0.0.1]/": withDev,
		"https://10.0.0.5/": never, "https://192.168.1.1": never, "https://169.254.169.254/latest": never, "https://100.64.0.1": never, "https://0.0.0.0/": never,
		"https://224.0.0.1/": never, "https://[fe80::1]/": never, "https://[fc00::1]/": never, "https://[::ffff:10.0.0.5]/": never, "https://[::]/": never,
		"http://example.com": never, "http://10.0.0.5": never, "http://localhost.example.com": never, "http://127.0.0.1.example.com": never,
		"http://[::ffff:10.0.0.1]/": never, "http://0.0.0.0/": never,
		"": never, "example.com": never, "//example.com/": never, "/hook": never, "https:example.com": never, "https://": never, "https:///hook": never,
		"https://:443/": never, "https://example.com:/": never, "https://example.com:0/": never, "https://example.com:65536/": never,
		"ftp://example.com": never, "ws://example.com": never, "file:///etc/passwd": never, "unix:///run/x": never,
		"https://user@example.com": never, "https://user:password@example.com": never, "https://@example.com": never,
		"https://example.com/#": never, "https://example.com/#part": never, "https://example.com/ ": never, " https://example.com": never,
		"https://example.com/\n": never, "https://exa mple.com/": never, "https://example.com/%zz": never,
	} {
		for _, dev := range []bool{false, true} {
			err := validateEndpoint(dev, func(e *Endpoint) { e.URL = url })
			if want := when == always || when == withDev && dev; (err == nil) != want {
				t.Errorf("%q, dev %v: %v", url, dev, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "endpoints[0].url: ") || strings.Contains(err.Error(), "password@")) {
				t.Errorf("%q: %v", url, err)
			}
		}
	}
}

func TestEndpointInAllowedNet(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://10.0.0.5/": true, "https://[::ffff:10.0.0.5]/": true, "https://[fd00::5]:8443/": true, "https://93.184.216.34": true,
		"https://11.0.0.5": true, "https://192.168.1.1/": false, "https://[fd00::6]/": false, "https://127.0.0.1": false,
	} {
		err := validateEndpoint(false, func(e *Endpoint) { e.URL, e.AllowNets = url, []string{"10.0.0.0/8", "fd00::5/128"} })
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestEndpointOfAnotherProgram: who delivers nothing does not know whether serve has
// --dev, and needs no secrets.
func TestEndpointOfAnotherProgram(t *testing.T) {
	file := writeFile(t, "endpoints: [{name: a, url: \"http://127.0.0.1:3000\"}]\n")
	mustLoad(t, Options{File: file, WithoutSecrets: true})
	if got := mistakesOf(t, Options{File: file, Environ: secrets}); len(got) != 2 {
		t.Errorf("got %q, want two mistakes", got)
	}
}

func TestEndpointSecrets(t *testing.T) {
	encoded := func(bytes int) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xff", bytes)))
	}
	for secret, ok := range map[string]bool{
		encoded(24): true, encoded(32): true, encoded(64): true, "whsec_" + encoded(24): true, "whsec_" + encoded(31): true,
		encoded(23): false, encoded(65): false, "": false, "whsec_": false, "whsec_" + encoded(16): false, "whsk_" + encoded(32): false,
		"whsec_whsec_" + encoded(32): false, encoded(32) + "\n": false, " " + encoded(32): false, strings.TrimRight(encoded(32), "="): false,
		strings.ReplaceAll(encoded(32), "/", "_"): false, encoded(24)[:16] + "\n" + encoded(24)[16:]: false,
		strings.TrimSuffix(encoded(32), "8=") + "9=": false, // with bits that no byte has
	} {
		err := validateEndpoint(false, func(e *Endpoint) { e.Secrets = []string{testSigningSecret, secret} })
		if (err == nil) != ok {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "endpoints[0].secrets[1]: ") || len(secret) > 6 && strings.Contains(err.Error(), secret)) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	for n, ok := range map[int]bool{0: false, 1: true, 5: true, 6: false} {
		err := validateEndpoint(false, func(e *Endpoint) { e.Secrets = strings.Fields(strings.Repeat(testSigningSecret+" ", n)) })
		if (err == nil) != ok {
			t.Errorf("%d secrets: %v", n, err)
		}
	}
}

func TestEndpointHeaders(t *testing.T) {
	for name, ok := range map[string]bool{
		"Authorization": true, "X-Api-Key": true, "x_key": true, "Traceparent": true, "Hosts": true, "Webhook": true,
		"": false, "X Key": false, "X-Key:": false, "X-Käy": false, "X\r\nY": false,
		"Host": false, "content-length": false, "Content-Type": false, "USER-AGENT": false, "Transfer-Encoding": false, "connection": false,
		"TE": false, "Proxy-Authorization": false, "HTTP2-Settings": false, "Upgrade": false, "Expect": false, "webhook-id": false, "Webhook-Signature": false, "webhook-anything": false, "x-webhook-signature": false,
	} {
		err := validateEndpoint(false, func(e *Endpoint) { e.Headers = map[string]string{name: "value"} })
		if (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for value, ok := range map[string]bool{
		"x": true, "Bearer abc==": true, "a\tb": true, "h\u00e9": true,
		"": false, " hidden": false, "hidden\n": false, "hidden\r\nX-B: c": false, "hidden\x00": false, "hidden\x7f": false,
	} {
		err := validateEndpoint(false, func(e *Endpoint) { e.Headers = map[string]string{"X-A": value} })
		if (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "endpoints[0].headers.X-A: ") || strings.Contains(err.Error(), "hidden")) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestEndpointNamesAndNets(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "crm_2-B": true, strings.Repeat("x", 64): true,
		"": false, "a.b": false, "a b": false, "é": false, "a\n": false, "{a}": false, strings.Repeat("x", 65): false,
	} {
		if err := validateEndpoint(false, func(e *Endpoint) { e.Name = name }); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for net, ok := range map[string]bool{
		"10.0.0.0/8": true, "192.168.1.7/32": true, "fc00::/7": true, "::1/128": true, "100.64.0.0/10": true,
		"": false, "10.0.0.0": false, "10.0.0.1/8": false, "0.0.0.0/0": false, "::/0": false, "10.0.0.0/33": false, "::ffff:10.0.0.0/104": false, "fe80::1%eth0/128": false,
	} {
		if err := validateEndpoint(false, func(e *Endpoint) { e.AllowNets = []string{net} }); (err == nil) != ok {
			t.Errorf("net %q: %v", net, err)
		}
	}
}

func TestTooManyEndpoints(t *testing.T) {
	text := func(n int) string {
		var b strings.Builder
		b.WriteString("endpoints:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {name: e%d, url: \"https://example.com\", secrets: [%s]}\n", i, testSigningSecret)
		}
		return b.String()
	}
	if c := mustLoad(t, Options{File: writeFile(t, text(100)), Environ: secrets}); len(c.Endpoints) != 100 {
		t.Errorf("%d endpoints", len(c.Endpoints))
	}
	got := mistakesOf(t, Options{File: writeFile(t, text(101)+"  - {}\n"), Environ: secrets})
	want := "spillway.yaml:2: endpoints: are 102; allowed: 100 at most"
	if len(got) != 4 || got[0] != want {
		t.Errorf("got %q, want %q and the three of the last one", got, want)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{
		"none": 0, "1/m": 1, "50/m": 50, "1/s": 60, "100/s": 6000, "6000000/m": 6000000, "100000/s": 6000000,
	} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which is read as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "0", "0/s", "0/m", "100", "/s", "s", "-1/s", "1.5/s", "1e3/s", "100/h", "100/S", "100 /s", "100/s ", "100001/s", "6000001/m", "99999999999/s", "None"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		}
	}
	if got := Rate(30).PerSecond(); got != 0.5 {
		t.Errorf("30/m are %v/s", got)
	}
}

// TestEveryEndpointRangeIsHeld holds those of an endpoint, as those of the others.
func TestEveryEndpointRangeIsHeld(t *testing.T) {
	e := DefaultEndpoint()
	checked := 0
	for _, f := range fieldsBelow(reflect.ValueOf(&e).Elem(), "endpoints[0]") {
		low, high, ok := f.bounds()
		if !ok {
			continue
		}
		checked++
		for text, ok := range map[string]bool{textOf(low, 0): true, textOf(high, 0): true, textOf(low, -1): false, textOf(high, 1): false} {
			if problem, _ := f.set(text); (problem == "") != ok {
				t.Errorf("%s: %q: problem %q", f.key, text, problem)
			}
		}
	}
	if checked != 4 {
		t.Errorf("%d ranges", checked)
	}
}

func TestEndpointHost(t *testing.T) {
	for url, want := range map[string]string{"https://user:x@example.com:8443/secret?k=secret": "example.com:8443", "://": "", "https://[::1]/": "[::1]"} {
		if got := (Endpoint{URL: url}).Host(); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
