package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"spillway/cmd/spillway/config"
)

// claimsOf verifies the printed token and gives its claims.
func claimsOf(t *testing.T, printed, secret string) jwt.MapClaims {
	t.Helper()
	token, err := jwt.Parse(strings.TrimSuffix(printed, "\n"), func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	return token.Claims.(jwt.MapClaims)
}

func TestToken(t *testing.T) {
	without(t)
	t.Setenv("SPILLWAY_JWT_SECRET", "of the variable")
	before := time.Now().Truncate(time.Second)
	got := spillway(t, "", "token", "--ttl", "90m", "--events", "message:new,webhook:*", "--phone-number-ids", "1,2", "--waba-ids", "3")
	if got.code != exitOK || got.stderr != "" {
		t.Fatalf("got %+v", got)
	}
	claims := claimsOf(t, got.stdout, "of the variable")
	issued, _ := claims.GetIssuedAt()
	expires, _ := claims.GetExpirationTime()
	if issued == nil || issued.Before(before) || expires.Sub(issued.Time) != 90*time.Minute {
		t.Errorf("issued %v, expires %v", issued, expires)
	}
	// Two tokens of one second are not the same: sockets are counted by token.
	again := claimsOf(t, spillway(t, "", "token").stdout, "of the variable")
	if claims["jti"] == nil || claims["jti"] == again["jti"] {
		t.Errorf("jti %v and %v", claims["jti"], again["jti"])
	}
	for _, own := range []string{"iat", "exp", "jti"} {
		delete(claims, own)
	}
	want := jwt.MapClaims{
		"events":           []any{"message:new", "webhook:*"},
		"phone_number_ids": []any{"1", "2"},
		"waba_ids":         []any{"3"},
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
}

// TestTokenWithoutLists: an empty list in a token would allow nothing.
func TestTokenWithoutLists(t *testing.T) {
	without(t)
	data := t.TempDir()
	made, err := config.MakeDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, spillway(t, "", "token", "--data", data).stdout, made.JWTSecret)
	if len(claims) != 3 || claims["exp"] == nil || claims["iat"] == nil || claims["jti"] == nil {
		t.Errorf("claims %v", claims)
	}
}

// TestTokenWithEmptyList: a variable that is not set must not widen a token.
func TestTokenWithEmptyList(t *testing.T) {
	without(t)
	t.Setenv("SPILLWAY_JWT_SECRET", "of the variable")
	for _, flag := range []string{"--events", "--phone-number-ids", "--waba-ids"} {
		for _, list := range []string{"", "a,", ","} {
			got := spillway(t, "", "token", flag, list)
			if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, flag+" has an empty item") {
				t.Errorf("%s %q: got %+v", flag, list, got)
			}
		}
	}
}

func TestTokenOfConfig(t *testing.T) {
	without(t)
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	write := func(stream string) {
		t.Helper()
		text := "apps: [{name: a, verify_token: v, app_secrets: [s]}]\nstream:\n" + stream
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("  jwt_secret: of the file\n")
	claimsOf(t, spillway(t, "", "token", "--config", file).stdout, "of the file")

	write("  jwt_public_key: |\n    -----BEGIN PUBLIC KEY-----\n    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n    -----END PUBLIC KEY-----\n")
	if got := spillway(t, "", "token", "--config", file); got.code != exitUsage || !strings.Contains(got.stderr, "the private key that belongs to it") {
		t.Errorf("got %+v", got)
	}
	write("  jwt_secrt: x\n")
	if got := spillway(t, "", "token", "--config", file); got.code != exitUsage || !strings.Contains(got.stderr, "did you mean stream.jwt_secret?") {
		t.Errorf("got %+v", got)
	}
}
