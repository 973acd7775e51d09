package stream

import (
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	tests := []struct {
		name    string
		allowed []string
		origin  string
		want    int
	}{
		{"no list", nil, "https://evil.example", 101},
		{"no list and null", nil, "null", 101},
		{"no origin", []string{"https://a.example"}, "", 101},
		{"listed", []string{"https://b.example", "https://a.example"}, "https://a.example", 101},
		{"all", []string{"*"}, "https://evil.example", 101},
		{"other case", []string{"https://A.example"}, "https://a.Example", 101},
		{"default port in the list", []string{"https://a.example:443"}, "https://a.example", 101},
		{"default port of http", []string{"http://a.example"}, "http://a.example:80", 101},
		{"port", []string{"http://localhost:3000"}, "http://localhost:3000", 101},
		{"address", []string{"http://[::1]:3000"}, "http://[::1]:3000", 101},
		{"other port", []string{"http://localhost:3000"}, "http://localhost:3001", 403},
		{"port of the other scheme", []string{"https://a.example"}, "https://a.example:80", 403},
		{"other scheme", []string{"https://a.example"}, "http://a.example", 403},
		{"not listed", []string{"https://a.example"}, "https://evil.example", 403},
		{"below", []string{"https://a.example"}, "https://evil.a.example", 403},
		{"before", []string{"https://a.example"}, "https://a.example.evil.example", 403},
		{"end alone", []string{"https://a.example"}, "https://evila.example", 403},
		{"null", []string{"https://a.example"}, "null", 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, newMemoryFeed(1), func(c *Config) { c.AllowedOrigins = test.allowed })
			c := r.connect()
			head := handshake("")
			if test.origin != "" {
				head = strings.Replace(head, "\r\n\r\n", "\r\nOrigin: "+test.origin+"\r\n\r\n", 1)
			}
			c.send([]byte(head))
			if got := c.answer().StatusCode; got != test.want {
				t.Errorf("answered %d, want %d", got, test.want)
			}
		})
	}
}

func TestOriginsThatAreNone(t *testing.T) {
	for _, origin := range []string{"", "null", "a.example", "https://", "https://a.example/", "https://a.example:", "https://u@a.example", "https://a.example?x"} {
		if validOrigin(origin) == nil {
			t.Errorf("%q is taken", origin)
		}
	}
}
