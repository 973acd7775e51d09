package config

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DevSecrets are the contents of DATA/dev.env, lines of NAME=value that a
// shell can read too:
//
//	SPILLWAY_APP_SECRET=9f86d081884c7d659a2feaa0c55ad015
//	SPILLWAY_VERIFY_TOKEN=a3bf4f1b2b0b822cd15d6c15b0f00a08
//	SPILLWAY_JWT_SECRET=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
type DevSecrets struct {
	AppSecret, VerifyToken, JWTSecret string
}

// DevFile is the path of dev.env.
func DevFile(data string) string { return filepath.Join(data, "dev.env") }

// ReadDevSecrets reads dev.env. Where there is none the error is fs.ErrNotExist.
func ReadDevSecrets(data string) (DevSecrets, error) {
	text, err := os.ReadFile(DevFile(data))
	if err != nil {
		return DevSecrets{}, fmt.Errorf("read dev secrets: %w", err)
	}
	var secrets DevSecrets
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case VariableAppSecret:
			secrets.AppSecret = value
		case VariableVerifyToken:
			secrets.VerifyToken = value
		case VariableJWTSecret:
			secrets.JWTSecret = value
		}
	}
	return secrets, nil
}

// MakeDevSecrets reads dev.env, and first makes it, or the lines it lacks.
// Nobody else may read it.
func MakeDevSecrets(data string) (DevSecrets, error) {
	secrets, err := ReadDevSecrets(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return DevSecrets{}, err
	}
	before := secrets
	for _, missing := range []struct {
		value *string
		bytes int
	}{{&secrets.AppSecret, 16}, {&secrets.VerifyToken, 16}, {&secrets.JWTSecret, 32}} {
		if *missing.value == "" {
			*missing.value = randomHex(missing.bytes)
		}
	}
	if secrets != before {
		return secrets, writeDevSecrets(data, secrets)
	}
	if err := os.Chmod(DevFile(data), 0o600); err != nil {
		return DevSecrets{}, fmt.Errorf("protect dev secrets: %w", err)
	}
	return secrets, nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails: it ends the process where there is no randomness
	return hex.EncodeToString(b)
}

// writeDevSecrets replaces dev.env as a whole, so that a crash leaves no half.
func writeDevSecrets(data string, secrets DevSecrets) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	file, err := os.CreateTemp(data, ".dev.env-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write dev secrets: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintf(file, "%s=%s\n%s=%s\n%s=%s\n", VariableAppSecret, secrets.AppSecret,
		VariableVerifyToken, secrets.VerifyToken, VariableJWTSecret, secrets.JWTSecret)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), DevFile(data))
	}
	if err != nil {
		return fmt.Errorf("write dev secrets: %w", err)
	}
	return nil
}

// fillDevSecrets sets what is still missing: the secrets of the only app, if
// none was named otherwise, and the secret of the stream.
func (l *loader) fillDevSecrets() error {
	secrets, err := MakeDevSecrets(l.config.Data)
	if err != nil {
		return err
	}
	apps := l.config.Apps
	if len(apps) == 0 || len(apps) == 1 && apps[0].Name == DefaultApp {
		app, _ := l.defaultApp()
		if app.VerifyToken == "" {
			app.VerifyToken = secrets.VerifyToken
		}
		if len(app.AppSecrets) == 0 {
			app.AppSecrets = []string{secrets.AppSecret}
		}
	}
	if l.config.Stream.JWTSecret == "" && l.config.Stream.JWTPublicKey == "" {
		l.config.Stream.JWTSecret = secrets.JWTSecret
	}
	return nil
}
