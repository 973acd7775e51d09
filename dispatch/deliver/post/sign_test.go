package post

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// TestSignatures has the specification's own library verify a delivery with the
// current secret, and with the previous one.
func TestSignatures(t *testing.T) {
	var header http.Header
	var body []byte
	e := newEndpoint(t, false, func(_ http.ResponseWriter, r *http.Request) {
		header, body = r.Header, must(io.ReadAll(r.Body))
	})
	current, previous := secretOf("b"), strings.TrimPrefix(secretOf("c"), "whsec_")
	s := newSender(t, e, func(c *Config) { c.Secrets = []string{current, previous} })
	for range 3 { // later ones are signed with states that were used
		if result := s.Send(context.Background(), testID, []byte(testBody)); result.Outcome != Delivered {
			t.Fatalf("%+v", result)
		}
		for _, secret := range []string{current, previous} {
			if err := must(standardwebhooks.NewWebhook(secret)).Verify(body, header); err != nil {
				t.Errorf("secret %s: %v", secret, err)
			}
		}
		if err := must(standardwebhooks.NewWebhook(secretOf("d"))).Verify(body, header); err == nil {
			t.Error("another secret verifies")
		}
		if err := must(standardwebhooks.NewWebhook(current)).Verify(append(body, ' '), header); err == nil {
			t.Error("another body verifies")
		}
		mac := hmac.New(sha256.New, []byte(current))
		mac.Write(body)
		if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); header.Get("X-Webhook-Signature") != want {
			t.Errorf("X-Webhook-Signature %s, want %s", header.Get("X-Webhook-Signature"), want)
		}
	}
}

// TestGoldenSignature pins the bytes; they were made with openssl dgst -hmac.
func TestGoldenSignature(t *testing.T) {
	s := must(newSigner([]string{secretOf("a")}))
	standard, github := s.sign("msg_1", 1700000000, []byte(`{"a":1}`))
	if want := "v1,gY5u0Gy1AnBsf6YdPFLa7N7Wpo237alzmdfC0DTFXRI="; standard != want {
		t.Errorf("webhook-signature: %s, want %s", standard, want)
	}
	if want := "sha256=efa0ae3e494bc94e5c8be1839d1b3ec7675b90c387962f7832643738fd539598"; github != want {
		t.Errorf("X-Webhook-Signature: %s, want %s", github, want)
	}
}

func TestSignTogether(t *testing.T) {
	s := must(newSigner([]string{secretOf("a"), secretOf("b")}))
	wantStandard, wantGitHub := s.sign(testID, 1, []byte(testBody))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if standard, github := s.sign(testID, 1, []byte(testBody)); standard != wantStandard || github != wantGitHub {
					t.Errorf("%s %s", standard, github)
				}
			}
		})
	}
	group.Wait()
}

func TestSecrets(t *testing.T) {
	of := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, good := range []string{of(24), of(32), of(64), "whsec_" + of(24), "whsec_" + of(64)} {
		if _, err := parseSecret(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "whsec_", of(23), of(65), "whsec_" + of(23), "WHSEC_" + of(24), of(32) + "\n", " " + of(32),
		strings.TrimRight(of(32), "="), "not-base64-but-long-enough-for-a-secret", "whsec_whsec_" + of(32)} {
		if _, err := parseSecret(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzSecret: what is taken here, the specification's library takes as the same key.
func FuzzSecret(f *testing.F) {
	f.Add(secretOf("a"))
	f.Add(strings.TrimPrefix(secretOf("a"), "whsec_"))
	f.Add("whsec_")
	f.Fuzz(func(t *testing.T, secret string) {
		s, err := newSigner([]string{secret})
		if err != nil {
			return
		}
		signature, _ := s.sign("id", 1, []byte("body"))
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Webhook-Id": {"id"}, "Webhook-Timestamp": {"1"}, "Webhook-Signature": {signature}}
		if err := verifier.VerifyIgnoringTimestamp([]byte("body"), header); err != nil {
			t.Error(err)
		}
	})
}
