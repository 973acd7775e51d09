package config

import (
	"reflect"
	"strconv"
	"testing"
	"time"
)

const testPublicKey = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`

// testSigningSecret is one for webhooks, of 24 bytes.
const testSigningSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

// textOf writes a number as the field reads it.
func textOf(v reflect.Value, more int64) string {
	if v.CanFloat() {
		return strconv.FormatFloat(v.Float()+float64(more), 'g', -1, 64)
	}
	n := v.Int() + more
	if _, ok := v.Interface().(time.Duration); ok {
		return time.Duration(n).String()
	}
	return strconv.FormatInt(n, 10)
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "100": 100, "512KiB": 512 * KiB, "64MiB": 64 * MiB, "20GiB": 20 * GiB, "3TiB": 3 * TiB, "8388607TiB": 8388607 * TiB,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which is read as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "KiB", "1.5GiB", "20GB", "-1", "1 KiB", "0x10", "8388608TiB", "9223372036854775808", "1_000"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestSizeString(t *testing.T) {
	for size, want := range map[Size]string{0: "0", 1: "1", 1024: "1KiB", 1536 * MiB: "1536MiB", 20 * GiB: "20GiB", GiB + 1: "1073741825"} {
		if got := size.String(); got != want {
			t.Errorf("%d: got %s, want %s", int64(size), got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	lookup := lookupIn([]string{"A=1", "EMPTY=", "DEEP=${A}$$", "_b2=two"})
	for text, want := range map[string]string{
		"": "", "plain": "plain", "${A}": "1", "x${A}y${_b2}z": "x1ytwoz", "$$": "$", "$${A}": "${A}", "$A": "$A",
		"cost $5": "cost $5", "end$": "end$", "${EMPTY}": "", "${DEEP}": "${A}$$", "$$$${A}$": "$${A}$",
	} {
		if got, err := expand(text, lookup); err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${", "${}", "${NONE}", "${A", "${1}", "${A B}", "a${A}${NONE}"} {
		if got, err := expand(text, lookup); err == nil {
			t.Errorf("expand(%q) = %q, want an error", text, got)
		}
	}
}

// FuzzReadYAML shows that no file makes reading it panic, and that what is read
// without a mistake stays within the ranges.
func FuzzReadYAML(f *testing.F) {
	for _, seed := range []string{"", "listen: :80", "apps: [{name: a}]", "log: {retain: 1h}", "a: &a [*a]", "? {a: b}\n: c", "- -", "\x00", "tls: !!map {}", "stream:\n  jwt_secret: |\n    x\n",
		"endpoints: [{name: a, headers: {b: c}, rate: 5/m, timeout: 3s}]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{config: DefaultConfig(), lookup: lookupIn([]string{"A=1"}), file: "f", origins: map[string]Origin{}}
		l.readYAML([]byte(text))
		for _, field := range l.fields() {
			if !field.within(field.value) {
				t.Errorf("%s is %v", field.key, field.value)
			}
		}
		l.validate()
	})
}
