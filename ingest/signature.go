package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"sync"
)

const (
	signaturePrefix = "sha256="
	// signatureLength is that of the whole header value.
	signatureLength = len(signaturePrefix) + 2*sha256.Size
)

// Sign gives the value of X-Hub-Signature-256 for a body.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// parseSignature reads a header value into sum. It reports whether the value is
// "sha256=" and 64 hex digits of any case, and nothing else.
func parseSignature(sum *[sha256.Size]byte, value []byte) bool {
	if len(value) != signatureLength || string(value[:len(signaturePrefix)]) != signaturePrefix {
		return false
	}
	_, err := hex.Decode(sum[:], value[len(signaturePrefix):])
	return err == nil
}

// keyring holds what all apps are recognised by. It never changes: a reload
// makes a new one.
type keyring struct {
	secrets []*secretKey
	// tokens are digests, so that comparing tells nothing of a token's length.
	tokens [][sha256.Size]byte
}

func newKeyring(apps []App) *keyring {
	k := &keyring{}
	for _, app := range apps {
		k.tokens = append(k.tokens, sha256.Sum256([]byte(app.VerifyToken)))
		for _, secret := range app.Secrets {
			k.secrets = append(k.secrets, newSecretKey(app.Name, secret))
		}
	}
	return k
}

// match gives the app one of whose secrets made the signature.
func (k *keyring) match(signature *[sha256.Size]byte, body []byte) (app string, ok bool) {
	for _, secret := range k.secrets {
		if secret.signed(signature, body) {
			return secret.app, true
		}
	}
	return "", false
}

// hasToken reports whether the token is an app's; an empty one never is. All
// tokens are compared, whichever matches.
func (k *keyring) hasToken(token []byte) bool {
	digest := sha256.Sum256(token)
	found := 0
	for i := range k.tokens {
		found |= subtle.ConstantTimeCompare(digest[:], k.tokens[i][:])
	}
	return found == 1 && len(token) > 0
}

// secretKey is one app secret with hash states that have already taken it in.
type secretKey struct {
	app    string
	states sync.Pool
}

type hashState struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newSecretKey(app, secret string) *secretKey {
	key := []byte(secret)
	return &secretKey{app: app, states: sync.Pool{New: func() any {
		return &hashState{mac: hmac.New(sha256.New, key)}
	}}}
}

func (s *secretKey) signed(signature *[sha256.Size]byte, body []byte) bool {
	state := s.states.Get().(*hashState)
	state.mac.Reset()
	_, _ = state.mac.Write(body)
	equal := hmac.Equal(state.mac.Sum(state.sum[:0]), signature[:])
	s.states.Put(state)
	return equal
}
