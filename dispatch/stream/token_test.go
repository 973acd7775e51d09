package stream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func publicPEM(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func sign(t *testing.T, method jwt.SigningMethod, c jwt.Claims, key any) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestAlgorithms signs with every key and checks with every key: only the pair
// of one key with its own algorithm is accepted.
func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM, ecPEM, edPEM := publicPEM(t, rsaKey.Public()), publicPEM(t, ecKey.Public()), publicPEM(t, edKey.Public())
	verifiers := map[string][2]string{
		"HS256": {secret, ""}, "RS256": {"", rsaPEM}, "ES256": {"", ecPEM}, "EdDSA": {"", edPEM},
	}
	c := claims(nil)
	tokens := map[string]string{
		"HS256": sign(t, jwt.SigningMethodHS256, c, []byte(secret)),
		"RS256": sign(t, jwt.SigningMethodRS256, c, rsaKey),
		"ES256": sign(t, jwt.SigningMethodES256, c, ecKey),
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, c, edKey),
		// Each of these is good in its signature, or claims to need none.
		"HS512":            sign(t, jwt.SigningMethodHS512, c, []byte(secret)),
		"RS512":            sign(t, jwt.SigningMethodRS512, c, rsaKey),
		"PS256":            sign(t, jwt.SigningMethodPS256, c, rsaKey),
		"none":             sign(t, jwt.SigningMethodNone, c, jwt.UnsafeAllowNoneSignatureType),
		"public as secret": sign(t, jwt.SigningMethodHS256, c, []byte(rsaPEM)),
		"no expiry":        sign(t, jwt.SigningMethodHS256, Claims{}, []byte(secret)),
		"not yet": sign(t, jwt.SigningMethodHS256, claims(func(c *Claims) {
			c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour))
		}), []byte(secret)),
	}
	for name, key := range verifiers {
		v, err := newVerifier(key[0], key[1])
		if err != nil {
			t.Fatal(err)
		}
		for signed, token := range tokens {
			if _, err := v.verify(token); (err == nil) != (signed == name) {
				t.Errorf("a key for %s, a token %s: %v", name, signed, err)
			}
		}
	}
}

func TestTamperedToken(t *testing.T) {
	v, _ := newVerifier(secret, "")
	token, err := Mint(secret, claims(func(c *Claims) { c.Events = []string{"message:new"} }))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.verify(token); err != nil || len(got.Events) != 1 || got.Events[0] != "message:new" {
		t.Fatalf("verify gives %+v, %v", got, err)
	}
	parts := strings.Split(token, ".")
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	wider := strings.Replace(string(body), "message:new", "*", 1)
	for _, bad := range []string{
		parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(wider)) + "." + parts[2],
		parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1], "", "..",
	} {
		if _, err := v.verify(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestMintNeeds(t *testing.T) {
	if _, err := Mint("", claims(nil)); err == nil {
		t.Error("minted without a secret")
	}
	if _, err := Mint(secret, Claims{}); err == nil {
		t.Error("minted without an expiry")
	}
}

// TestEmptyListsLimit: a list without entries allows nothing, and minting keeps
// it apart from a list that is absent, which allows all.
func TestEmptyListsLimit(t *testing.T) {
	for name, change := range map[string]func(*Claims){
		"events": func(c *Claims) { c.Events = []string{} },
		"phones": func(c *Claims) { c.PhoneNumberIDs = []string{} },
		"wabas":  func(c *Claims) { c.WABAIDs = []string{} },
	} {
		token, err := Mint(secret, claims(change))
		if err != nil {
			t.Fatal(err)
		}
		v, err := newVerifier(secret, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.verify(token)
		if err != nil {
			t.Fatal(err)
		}
		payload := []byte(`{"phone_number_id":"1","waba_id":"2"}`)
		if newFilter(got, "", "").matches("message:new", payload, &facts{}) {
			t.Errorf("an empty list of %s allows all", name)
		}
	}
}

func TestValidateTellsAll(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := DefaultConfig()
	good.Secret = secret
	good.AllowedOrigins = []string{"*", "https://example.com", "http://localhost:3000"}
	if err := good.Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	tests := map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no key":     {func(c *Config) { c.Secret = "" }, []string{"no key"}},
		"two keys":   {func(c *Config) { c.PublicKey = "x" }, []string{"exclude"}},
		"no PEM":     {func(c *Config) { c.Secret, c.PublicKey = "", "x" }, []string{"not PEM"}},
		"short RSA":  {func(c *Config) { c.Secret, c.PublicKey = "", publicPEM(t, small.Public()) }, []string{"1024"}},
		"wrong line": {func(c *Config) { c.Secret, c.PublicKey = "", publicPEM(t, p384.Public()) }, []string{"P-384"}},
		"all at once": {func(c *Config) {
			*c = Config{AllowedOrigins: []string{"example.com", "https://example.com/path"}, BurstGrace: -1}
		}, []string{"no key", `"example.com"`, "/path", "sockets is", "sockets per token is", "queue is", "queue bytes", "catch-ups", "catch-up bytes",
			"auth", "ping", "pong", "position", "write", "close", "send buffer", "burst"}},
	}
	for name, test := range tests {
		cfg := good
		test.change(&cfg)
		err := cfg.Validate()
		if err == nil {
			t.Errorf("%s: valid", name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not tell of %q", name, err, want)
			}
		}
	}
}
