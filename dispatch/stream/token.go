package stream

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Claims are what a token says. A list that is absent limits nothing; one that
// is there limits to what it names, and an empty one to nothing at all.
type Claims struct {
	// Events are types, or prefixes that end in ":*", such as "webhook:*", or "*".
	Events []string `json:"events,omitzero"`
	// PhoneNumberIDs and WABAIDs are the ids Meta gives. Where a list limits, an
	// event without such an id is not shown.
	PhoneNumberIDs []string `json:"phone_number_ids,omitzero"`
	WABAIDs        []string `json:"waba_ids,omitzero"`
	jwt.RegisteredClaims
}

var errNoExpiry = errors.New("claims need an expiry")

// Mint signs claims with HS256. They must have an expiry.
func Mint(secret string, c Claims) (string, error) {
	if secret == "" {
		return "", errors.New("mint token: no secret")
	}
	if c.ExpiresAt == nil {
		return "", fmt.Errorf("mint token: %w", errNoExpiry)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(secret))
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return token, nil
}

// verifier accepts tokens of one key and the one algorithm that goes with it: a
// token's own word on its algorithm is never followed.
type verifier struct {
	parser *jwt.Parser
	key    any
}

func newVerifier(secret, publicKey string) (*verifier, error) {
	switch {
	case secret != "" && publicKey != "":
		return nil, errors.New("a token secret and a public key exclude each other: set one")
	case secret != "":
		return pinned(jwt.SigningMethodHS256, []byte(secret)), nil
	case publicKey != "":
		key, err := parseKey(publicKey)
		if err != nil {
			return nil, err
		}
		return keyVerifier(key)
	}
	return nil, errors.New("no key for tokens: set a secret or a public key")
}

func pinned(method jwt.SigningMethod, key any) *verifier {
	return &verifier{
		parser: jwt.NewParser(jwt.WithValidMethods([]string{method.Alg()}), jwt.WithExpirationRequired()),
		key:    key,
	}
}

func keyVerifier(key crypto.PublicKey) (*verifier, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("RSA public key has %d bits, needs 2048", k.N.BitLen())
		}
		return pinned(jwt.SigningMethodRS256, k), nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("elliptic public key is on %s, must be on P-256", k.Params().Name)
		}
		return pinned(jwt.SigningMethodES256, k), nil
	case ed25519.PublicKey:
		return pinned(jwt.SigningMethodEdDSA, k), nil
	}
	return nil, fmt.Errorf("public key is a %T, must be RSA, P-256 or Ed25519", key)
}

func parseKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("public key is not PEM")
	}
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse public key: %w", err)
		}
		return key, nil
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse public key: %w", err)
		}
		return key, nil
	}
	return nil, fmt.Errorf("PEM block is a %q, must be a PUBLIC KEY", block.Type)
}

// verify gives the claims of a token that is signed by the key, has an expiry,
// and is valid now.
func (v *verifier) verify(token string) (*Claims, error) {
	claims := &Claims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return v.key, nil })
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	return claims, nil
}
