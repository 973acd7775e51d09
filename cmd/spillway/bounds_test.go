package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"spillway/cmd/spillway/config"
	"spillway/wal"
)

// ranges gives the range tags of a section by key.
func ranges(section reflect.Type, path string, into map[string]string) {
	for i := range section.NumField() {
		f := section.Field(i)
		key := strings.TrimPrefix(path+"."+f.Tag.Get("yaml"), ".")
		if f.Type.Kind() == reflect.Struct {
			ranges(f.Type, key, into)
		} else if tag := f.Tag.Get("range"); tag != "" {
			into[key] = tag
		}
	}
}

// TestPartsTakeWhatConfigAllows: a mistake is named with its key and its line or
// not at all, so no part may refuse a value that the config let through.
func TestPartsTakeWhatConfigAllows(t *testing.T) {
	tags := map[string]string{}
	ranges(reflect.TypeFor[config.Config](), "", tags)
	if len(tags) < 15 {
		t.Fatalf("only %d ranges", len(tags))
	}
	if top, err := config.ParseSize(strings.Split(tags["limits.body"], "..")[1]); err != nil || top+config.KiB > wal.MaxRecord {
		t.Errorf("limits.body: a body of %s does not fit into a record of the log (%v)", top, err)
	}
	tried := 0
	for key, tag := range tags {
		low, high, _ := strings.Cut(tag, "..")
		for _, text := range []string{low, high} {
			options := checkOptions(filepath.Join(t.TempDir(), "data"))
			options.Flags = map[string]string{key: text}
			c, err := config.Load(options)
			if err != nil {
				continue // refused for its relation to another setting
			}
			tried++
			stream := streamConfig(c)
			for part, err := range map[string]error{
				"wal": logConfig(c).Validate(), "store": storeConfig(c).Validate(), "stream": stream.Validate(), "ingest": ingestConfig(c).Validate(),
			} {
				if err != nil {
					t.Errorf("%s: %s: %s refuses it: %v", key, text, part, err)
				}
			}
		}
	}
	if tried < 2*len(tags)-3 {
		t.Errorf("only %d of %d bounds tried", tried, 2*len(tags))
	}
}

// TestKeysAreJudgedAlike: config and stream agree on what a public key is.
func TestKeysAreJudgedAlike(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	for _, block := range []pem.Block{
		{Type: "PUBLIC KEY", Bytes: pkix}, {Type: "PUBLIC KEY", Bytes: pkcs1},
		{Type: "RSA PUBLIC KEY", Bytes: pkcs1}, {Type: "RSA PUBLIC KEY", Bytes: pkix},
		{Type: "ANOTHER KEY", Bytes: pkix},
	} {
		options := checkOptions(filepath.Join(t.TempDir(), "data"))
		options.Environ = slices.DeleteFunc(slices.Clone(options.Environ), func(pair string) bool {
			return strings.HasPrefix(pair, config.VariableJWTSecret+"=")
		})
		options.Environ = append(options.Environ, "SPILLWAY_STREAM_JWT_PUBLIC_KEY="+string(pem.EncodeToMemory(&block)))
		c, refused := config.Load(options)
		stream := streamConfig(c)
		if taken := stream.Validate(); (refused == nil) != (taken == nil) {
			t.Errorf("%s: config says %v, stream %v", block.Type, refused, taken)
		}
	}
}
