package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestSign(t *testing.T) {
	// The vector of RFC 4231, test case 2.
	const want = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := Sign("Jefe", []byte("what do ya want for nothing?")); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestParseSignature(t *testing.T) {
	digits := strings.Repeat("0aF", 21) + "9"
	for _, test := range []struct {
		value string
		ok    bool
	}{
		{"sha256=" + digits, true},
		{"sha256=" + strings.ToUpper(digits), true},
		{"sha256=" + strings.ToLower(digits), true},
		{"", false},
		{"sha256=", false},
		{digits, false},
		{"SHA256=" + digits, false},
		{"sha1=" + digits, false},
		{"sha256=" + digits[1:], false},
		{"sha256=" + digits + "0", false},
		{"sha256=" + digits[:63] + "g", false},
		{" sha256=" + digits[:63], false},
		{"sha256=" + digits[:62] + "\x00\x00", false},
	} {
		var sum [sha256.Size]byte
		if got := parseSignature(&sum, []byte(test.value)); got != test.ok {
			t.Errorf("parseSignature(%q) = %v, want %v", test.value, got, test.ok)
		}
		if want := strings.ToLower(digits); test.ok && hex.EncodeToString(sum[:]) != want {
			t.Errorf("parseSignature(%q) gave %x, want %s", test.value, sum, want)
		}
	}
}

func TestKeyring(t *testing.T) {
	keys := newKeyring([]App{
		{Name: "one", VerifyToken: "token-1", Secrets: []string{"current", "previous"}},
		{Name: "two", VerifyToken: "token-2", Secrets: []string{"other"}},
		{Name: "three", Secrets: []string{"third"}},
	})
	body := []byte("body")
	for secret, want := range map[string]string{
		"current": "one", "previous": "one", "other": "two", "third": "three", "unknown": "", "": "",
	} {
		for range 3 { // a pooled state must serve again
			var sum [sha256.Size]byte
			if !parseSignature(&sum, []byte(Sign(secret, body))) {
				t.Fatalf("a signature made by Sign is not read")
			}
			app, ok := keys.match(&sum, body)
			if app != want || ok != (want != "") {
				t.Errorf("signed with %q: app %q, %v; want %q", secret, app, ok, want)
			}
			if _, ok := keys.match(&sum, []byte("Body")); ok {
				t.Errorf("signed with %q: another body matches", secret)
			}
		}
	}
	for token, want := range map[string]bool{"token-1": true, "token-2": true, "token-3": false, "token-": false, "": false} {
		if got := keys.hasToken([]byte(token)); got != want {
			t.Errorf("hasToken(%q) = %v, want %v", token, got, want)
		}
	}
}

var signatureForm = regexp.MustCompile(`\Asha256=([0-9a-fA-F]{64})\z`)

func FuzzSignatureHeader(f *testing.F) {
	f.Add([]byte(Sign("secret", []byte("body"))))
	f.Add([]byte(strings.ToUpper(Sign("secret", nil))))
	f.Add([]byte("sha256="))
	f.Add([]byte("sha256=" + strings.Repeat("0", 63) + "\n"))
	f.Add([]byte("sha256=" + strings.Repeat("0", 65)))
	f.Add([]byte("sha1=" + strings.Repeat("0", 66)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		var sum [sha256.Size]byte
		ok := parseSignature(&sum, value)
		form := signatureForm.FindSubmatch(value)
		if ok != (form != nil) {
			t.Fatalf("parseSignature(%q) = %v", value, ok)
		}
		if !ok {
			return
		}
		want := bytes.ToLower(form[1])
		if got := hex.AppendEncode(nil, sum[:]); !bytes.Equal(got, want) {
			t.Fatalf("parseSignature(%q) gave %s, want %s", value, got, want)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	keys := newKeyring([]App{{Name: "default", Secrets: []string{"0123456789abcdef0123456789abcdef"}}})
	for _, size := range []int{600, 2 << 10, 20 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			body := bytes.Repeat([]byte("x"), size)
			var sum [sha256.Size]byte
			parseSignature(&sum, []byte(Sign("0123456789abcdef0123456789abcdef", body)))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := keys.match(&sum, body); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}
