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
	"spillway/dispatch/event"
	"spillway/dispatch/stream"
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
			streaming := streamConfig(c)
			for part, err := range map[string]error{
				"wal": logConfig(c).Validate(), "store": storeConfig(c).Validate(), "stream": streaming.Validate(), "ingest": ingestConfig(c).Validate(),
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
		streaming := streamConfig(c)
		if taken := streaming.Validate(); (refused == nil) != (taken == nil) {
			t.Errorf("%s: config says %v, stream %v", block.Type, refused, taken)
		}
	}
}

// TestEventsAreJudgedAlike: config and stream agree on which patterns of events there are.
func TestEventsAreJudgedAlike(t *testing.T) {
	taken := 0
	for _, pattern := range []string{
		event.MessageNew, event.MessageStatus, event.ContactNew, event.ContactUpdated, "*", "message:*", "contact:*", "webhook:*", "webhook:calls", "webhook:a b",
		"", "**", "message:", "message:n*", "message:new ", "Message:new", "contact:gone", "webhook", "webhook:", "webhook:c*", "webhook:**", "stream:position", "nope:*",
	} {
		c := config.DefaultConfig()
		c.Apps, c.Stream.JWTSecret = []config.App{{Name: "a", VerifyToken: "v", AppSecrets: []string{"s"}}}, "j"
		e := config.DefaultEndpoint()
		e.Name, e.URL, e.Secrets, e.Events = "crm", "https://example.com", []string{testSigningSecret}, []string{pattern}
		c.Endpoints = []config.Endpoint{e}
		refused, wrong := c.Validate(), stream.CheckTypes(e.Events)
		if (refused == nil) != (wrong == nil) {
			t.Errorf("%q: config says %v, stream %v", pattern, refused, wrong)
		}
		if wrong == nil {
			taken++
			continue
		}
		// They name the same types.
		if _, types, _ := strings.Cut(wrong.Error(), "allowed: "); !strings.Contains(refused.Error(), types) {
			t.Errorf("%q: config says %v, stream %v", pattern, refused, wrong)
		}
	}
	if taken != 10 {
		t.Errorf("%d patterns are taken", taken)
	}
}
