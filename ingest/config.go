package ingest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Bounds of what a Config may hold.
const (
	minBody        = 1 << 10
	maxBody        = 32 << 20
	maxConnections = 1_000_000
	maxReadTimeout = 5 * time.Minute
	maxAppName     = 64
)

// App is a Meta app that may call.
type App struct {
	// Name is what its webhooks are kept under: 1 to 64 bytes, unique.
	Name string
	// VerifyToken is what Meta's verification GET must present.
	VerifyToken string
	// Secrets are the app secrets that a webhook may be signed with: the current
	// one and, while it is rotated, the previous one.
	Secrets []string
}

// TLS names the files of the built-in TLS. Without Cert and Key the listener
// speaks plain HTTP.
type TLS struct {
	// Cert and Key are PEM files: the chain, leaf first, and its private key.
	Cert, Key string
	// ClientCA is a PEM file of the CAs of client certificates. With it
	// /api/webhook answers 403 to a client without a certificate of theirs that
	// carries ClientName; /ws stays open to clients without one.
	ClientCA string
	// ClientName is the common name, or one of the DNS names, that the client's
	// certificate must carry.
	ClientName string
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" || t.Key != "" }

// Config says where and for whom to listen, and the bounds of what is taken.
type Config struct {
	// Listen is the address, HOST:PORT.
	Listen string
	Apps   []App
	TLS    TLS

	// MaxBody is the largest body taken, in bytes.
	MaxBody int64
	// MaxInFlight bounds the bytes of all bodies that are read or wait for the
	// log; beyond it the answer is 503.
	MaxInFlight int64
	// MaxConnections bounds the open connections, those that became WebSockets
	// not counted; one more is told 503 and closed.
	MaxConnections int
	// ReadTimeout bounds the reading of one request, header and body.
	ReadTimeout time.Duration
	// IdleTimeout bounds the wait for the next request on a kept-alive connection.
	IdleTimeout time.Duration
	// WriteTimeout bounds the writing of one answer.
	WriteTimeout time.Duration
	// TargetWait is how long webhooks may wait for the log while more come than it
	// takes; those that would wait longer are answered 503.
	TargetWait time.Duration
	// ExtraFiles is how many descriptors the rest of the process may need at
	// most, subscribers' sockets included. It is only used to warn at start.
	ExtraFiles int
}

// DefaultConfig is every default; Apps has none.
func DefaultConfig() Config {
	return Config{
		Listen:         "127.0.0.1:8080",
		TLS:            TLS{ClientName: "client.webhooks.fbclientcerts.com"},
		MaxBody:        4 << 20,
		MaxInFlight:    256 << 20,
		MaxConnections: 10_000,
		ReadTimeout:    10 * time.Second,
		IdleTimeout:    90 * time.Second,
		WriteTimeout:   10 * time.Second,
		TargetWait:     100 * time.Millisecond,
		ExtraFiles:     1024,
	}
}

// Validate returns all mistakes at once, each with the setting's name and what
// is allowed; nil where there are none. It opens no file.
func (c Config) Validate() error {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf(format, args...))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		wrong("listen: %q is not HOST:PORT", c.Listen)
	}
	if c.MaxBody < minBody || c.MaxBody > maxBody {
		wrong("limits.body: %d is not between 1KiB and 32MiB", c.MaxBody)
	}
	if c.MaxInFlight < 2*c.MaxBody {
		wrong("limits.in_flight: %d is less than twice limits.body", c.MaxInFlight)
	}
	if c.MaxConnections < 1 || c.MaxConnections > maxConnections {
		wrong("limits.connections: %d is not between 1 and %d", c.MaxConnections, maxConnections)
	}
	if c.ReadTimeout <= 0 || c.ReadTimeout > maxReadTimeout {
		wrong("limits.read_timeout: %s is not above 0 and at most %s", c.ReadTimeout, maxReadTimeout)
	}
	if c.IdleTimeout <= 0 || c.WriteTimeout <= 0 {
		wrong("the idle and write timeouts must be above 0")
	}
	if c.TargetWait <= 0 {
		wrong("the target of the wait for the log must be above 0")
	}
	return errors.Join(append(mistakes, validateApps(c.Apps), c.TLS.validate())...)
}

func validateApps(apps []App) error {
	if len(apps) == 0 {
		return errors.New("apps: at least one is needed")
	}
	var mistakes []error
	wrong := func(app int, format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("apps[%d].%s", app, fmt.Sprintf(format, args...)))
	}
	seen := make(map[string]bool, len(apps))
	for i, app := range apps {
		switch {
		case app.Name == "" || len(app.Name) > maxAppName:
			wrong(i, "name: must have 1 to %d bytes", maxAppName)
		case seen[app.Name]:
			wrong(i, "name: %q is taken by another app", app.Name)
		}
		seen[app.Name] = true
		if reason := badSecret(app.VerifyToken); reason != "" {
			wrong(i, "verify_token: %s", reason)
		}
		if len(app.Secrets) == 0 {
			wrong(i, "app_secrets: at least one is needed")
		}
		for j, secret := range app.Secrets {
			if reason := badSecret(secret); reason != "" {
				wrong(i, "app_secrets[%d]: %s", j, reason)
			}
		}
	}
	return errors.Join(mistakes...)
}

// badSecret says what is wrong with a secret, without showing it.
func badSecret(secret string) string {
	switch {
	case secret == "":
		return "must not be empty"
	case strings.TrimSpace(secret) != secret:
		return "must not begin or end with white space"
	}
	return ""
}

func (t TLS) validate() error {
	var mistakes []error
	if t.Enabled() && t.Cert == "" {
		mistakes = append(mistakes, errors.New("tls.cert: must be set where tls.key is"))
	}
	if t.Enabled() && t.Key == "" {
		mistakes = append(mistakes, errors.New("tls.key: must be set where tls.cert is"))
	}
	if t.ClientCA != "" && !t.Enabled() {
		mistakes = append(mistakes, errors.New("tls.client_ca: needs tls.cert and tls.key"))
	}
	if t.ClientCA != "" && t.ClientName == "" {
		mistakes = append(mistakes, errors.New("tls.client_name: must be set where tls.client_ca is"))
	}
	return errors.Join(mistakes...)
}
