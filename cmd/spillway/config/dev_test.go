package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestDevMakesSecretsOnce(t *testing.T) {
	data := filepath.Join(t.TempDir(), "new", "data")
	o := Options{Dev: true, Environ: []string{"SPILLWAY_DATA=" + data}}
	first := mustLoad(t, o)

	info, err := os.Stat(DevFile(data))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
	text, err := os.ReadFile(DevFile(data))
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^SPILLWAY_APP_SECRET=[0-9a-f]{32}\nSPILLWAY_VERIFY_TOKEN=[0-9a-f]{32}\nSPILLWAY_JWT_SECRET=[0-9a-f]{64}\n$`)
	if !form.Match(text) {
		t.Errorf("dev.env has another form, of %d bytes", len(text))
	}
	secrets, err := ReadDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Apps; len(got) != 1 || got[0].VerifyToken != secrets.VerifyToken || !slices.Equal(got[0].AppSecrets, []string{secrets.AppSecret}) {
		t.Error("the app has not the secrets of dev.env")
	}
	if first.Stream.JWTSecret != secrets.JWTSecret {
		t.Error("the stream has not the secret of dev.env")
	}
	if again := mustLoad(t, o); !reflect.DeepEqual(again, first) {
		t.Error("the second load gives other secrets")
	}
	if left, _ := filepath.Glob(filepath.Join(data, ".dev.env*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestDevAddsMissingLinesAndProtects(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(DevFile(data), []byte("SPILLWAY_APP_SECRET=mine\r\nOTHER=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	secrets, err := MakeDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	if secrets.AppSecret != "mine" || secrets.VerifyToken == "" || secrets.JWTSecret == "" {
		t.Errorf("got %d, %d, %d bytes", len(secrets.AppSecret), len(secrets.VerifyToken), len(secrets.JWTSecret))
	}
	if err := os.Chmod(DevFile(data), 0o666); err != nil {
		t.Fatal(err)
	}
	again, err := MakeDevSecrets(data)
	if err != nil || again != secrets {
		t.Errorf("the second time differs: %v", err)
	}
	info, err := os.Stat(DevFile(data))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

func TestDevLeavesGivenSecrets(t *testing.T) {
	data := t.TempDir()
	c := mustLoad(t, Options{Dev: true, Flags: map[string]string{"data": data}, Environ: []string{"SPILLWAY_APP_SECRET=given"}})
	made, err := ReadDevSecrets(data)
	if err != nil {
		t.Fatal(err)
	}
	if app := c.Apps[0]; !slices.Equal(app.AppSecrets, []string{"given"}) || app.VerifyToken != made.VerifyToken {
		t.Error("the given secret is replaced, or the missing token is not made")
	}
}

func TestDevRefusesOtherMachines(t *testing.T) {
	for address, refused := range map[string]bool{
		"127.0.0.1:8081": false, "localhost:8081": false, "[::1]:8081": false, "127.9.9.9:0": false,
		":8081": true, "0.0.0.0:8081": true, "[::]:8081": true, "10.0.0.1:8081": true, "example.com:8081": true, "localhost.example.com:1": true,
	} {
		data := filepath.Join(t.TempDir(), "data")
		for _, key := range []string{"listen", "admin"} {
			_, err := Load(Options{Dev: true, Flags: map[string]string{key: address, "data": data}})
			if (err != nil) != refused {
				t.Errorf("%s %s: %v", key, address, err)
			}
			if refused && (!strings.Contains(err.Error(), "--"+key) || !strings.Contains(err.Error(), "reachable from outside")) {
				t.Errorf("%s %s: unclear: %v", key, address, err)
			}
		}
		if _, err := os.Stat(data); refused && err == nil {
			t.Errorf("%s: refused, yet secrets were made", address)
		}
	}
}

func TestDevCannotWrite(t *testing.T) {
	file := writeFile(t, "")
	if _, err := Load(Options{Dev: true, Flags: map[string]string{"data": filepath.Join(file, "data")}}); err == nil {
		t.Error("no error for a data folder below a file")
	}
}
