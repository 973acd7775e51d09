package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"spillway/cmd/spillway/config"
)

// TestReadmeConfig loads the config that the README shows: it must be valid,
// name every key, and have the defaults.
func TestReadmeConfig(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- config: held to the defaults by TestReadmeConfig -->\n```yaml\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README shows no config")
	}
	file := filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(file, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(config.Options{File: file, Environ: []string{
		"SPILLWAY_VERIFY_TOKEN=" + testVerifyToken, "SPILLWAY_APP_SECRET=" + testAppSecret, "SPILLWAY_JWT_SECRET=" + testJWTSecret,
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := config.DefaultConfig()
	want.Apps = []config.App{{Name: "default", VerifyToken: testVerifyToken, AppSecrets: []string{testAppSecret}}}
	want.Stream.JWTSecret = testJWTSecret
	for _, c := range []*config.Config{&got, &want} { // an empty list is one that is not set
		c.Endpoints, c.Redis.Addrs, c.Stream.AllowedOrigins = nil, nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the README's config differs from the defaults:\n%+v\n%+v", got, want)
	}
	checkKeys(t, reflect.TypeFor[config.Config](), string(block[1]))
}

// checkKeys wants each key of a struct in the text.
func checkKeys(t *testing.T, of reflect.Type, text string) {
	for i := range of.NumField() {
		field := of.Field(i)
		key := field.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		if !regexp.MustCompile(`(?m)^[ -]*` + key + `:`).MatchString(text) {
			t.Errorf("the README's config lacks %s", key)
		}
		if field.Type.Kind() == reflect.Struct {
			checkKeys(t, field.Type, text)
		}
	}
}
