package post

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// The bytes that a secret may have, by Standard Webhooks.
const (
	minSecret = 24
	maxSecret = 64
)

// parseSecret decodes base64 of 24 to 64 bytes, with or without whsec_ before it. No
// error holds any of it.
func parseSecret(secret string) ([]byte, error) {
	encoded := strings.TrimPrefix(secret, "whsec_")
	if strings.ContainsAny(encoded, "\r\n") { // which the decoder would skip
		return nil, errors.New("it holds a line break")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("it is not base64 with its padding, with or without whsec_ before it: make one with: openssl rand -base64 32")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("it is %d bytes, not %d to %d: make one with: openssl rand -base64 32", len(key), minSecret, maxSecret)
	}
	return key, nil
}

// signer signs deliveries with all secrets of an endpoint.
//
//	webhook-signature:   v1,BASE64 v1,BASE64     of "ID.SECONDS.BODY", one by each secret's bytes
//	X-Webhook-Signature: sha256=HEX              of "BODY", by the first secret as it is written
//
// The second is GitHub's form, whose receivers take the text they are given as the key.
type signer struct {
	// macs pools *macs: a mac that was reset keeps the state its key leads to, and
	// does not hash the key again.
	macs sync.Pool
}

// macs are what one signature at a time is made with.
type macs struct {
	standard  []hash.Hash
	github    hash.Hash
	head, out []byte
	sum       [sha256.Size]byte
}

// newSigner gives all mistakes of the secrets, by their number.
func newSigner(secrets []string) (*signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("secrets: at least one is needed: make one with: openssl rand -base64 32")
	}
	var mistakes []error
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		key, err := parseSecret(secret)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("secrets[%d]: %w", i, err))
		}
		keys[i] = key
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	s := &signer{}
	s.macs.New = func() any {
		m := &macs{github: hmac.New(sha256.New, []byte(secrets[0]))}
		for _, key := range keys {
			m.standard = append(m.standard, hmac.New(sha256.New, key))
		}
		return m
	}
	return s, nil
}

// sign gives the values of both headers for a try at a time, in seconds.
func (s *signer) sign(id string, at int64, body []byte) (standard, github string) {
	m := s.macs.Get().(*macs)
	defer s.macs.Put(m)

	m.head = append(append(m.head[:0], id...), '.')
	m.head = append(strconv.AppendInt(m.head, at, 10), '.')
	m.out = m.out[:0]
	for i, mac := range m.standard {
		if i > 0 {
			m.out = append(m.out, ' ')
		}
		mac.Reset()
		mac.Write(m.head)
		mac.Write(body)
		m.out = base64.StdEncoding.AppendEncode(append(m.out, "v1,"...), mac.Sum(m.sum[:0]))
	}
	standard = string(m.out)

	m.github.Reset()
	m.github.Write(body)
	m.out = hex.AppendEncode(append(m.out[:0], "sha256="...), m.github.Sum(m.sum[:0]))
	return standard, string(m.out)
}
