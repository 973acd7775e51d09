// Package config is what an operator can set, and the way it is found.
//
//	defaults ─▶ file (YAML, ${NAME} expanded) ─▶ variables ─▶ flags ─▶ dev secrets ─▶ validate ─▶ Config
//
// A later step overrides an earlier one. Load promises that a mistake never
// passes silently and never hides another: an unknown key, a bad value, a
// missing secret are all reported at once, each with its key, the place where
// it was written and what is allowed there. A secret is never part of a report.
package config

import "time"

// Config is every setting. The tags are the schema: yaml is the key, range the
// allowed values, env a variable's name where it is not made from the key, and
// secret marks what must not be shown.
type Config struct {
	// Listen is the public address, host:port: /api/webhook and /ws.
	Listen string `yaml:"listen"`
	// Admin is the private address, host:port: metrics, health, profiles, contacts.
	Admin string `yaml:"admin"`
	// Data is the folder of the log and of the embedded store, relative to the
	// working directory.
	Data string `yaml:"data"`
	// Apps are the Meta apps whose webhooks are taken.
	Apps     []App    `yaml:"apps"`
	TLS      TLS      `yaml:"tls"`
	Limits   Limits   `yaml:"limits"`
	Log      Log      `yaml:"log"`
	Redis    Redis    `yaml:"redis"`
	Dedupe   Dedupe   `yaml:"dedupe"`
	Contacts Contacts `yaml:"contacts"`
	Stream   Stream   `yaml:"stream"`
	Tracing  Tracing  `yaml:"tracing"`
	// Endpoints are told of events by outgoing webhooks.
	Endpoints []Endpoint `yaml:"endpoints"`

	// Dev is true where the secrets may be the ones of DATA/dev.env.
	Dev bool `yaml:"-"`
	// Paused is true where webhooks are taken and not dispatched: for measuring.
	Paused bool `yaml:"-"`
}

// App is one Meta app.
type App struct {
	// Name is recorded with every webhook: letters, digits, dot, dash, underscore.
	Name string `yaml:"name"`
	// VerifyToken is what Meta's verification GET must carry.
	VerifyToken string `yaml:"verify_token" secret:"true"`
	// AppSecrets are the keys a signature may be made with: the current one and,
	// during a rotation, the previous one.
	AppSecrets []string `yaml:"app_secrets" secret:"true"`
}

// TLS is served on Listen where Cert is set. Files in PEM.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA makes webhooks require a client certificate signed by it, whose
	// name is ClientName.
	ClientCA   string `yaml:"client_ca"`
	ClientName string `yaml:"client_name"`
}

// Enabled reports whether Listen speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Limits bound what senders can make the receiver hold.
type Limits struct {
	// Body is the largest body taken; the log takes no record of 64MiB.
	Body Size `yaml:"body" range:"1KiB..32MiB"`
	// InFlight bounds the bytes of all bodies being received or written: room for
	// two at least.
	InFlight Size `yaml:"in_flight" range:"1MiB..64GiB"`
	// Connections are those of senders; sockets of subscribers count apart.
	Connections int `yaml:"connections" range:"1..1000000"`
	// ReadTimeout bounds one request, header and body.
	ReadTimeout time.Duration `yaml:"read_timeout" range:"100ms..5m"`
}

// Log is the durable log.
type Log struct {
	// Retain is how long a record stays after its events took effect.
	Retain time.Duration `yaml:"retain" range:"0s..87600h"`
	// DeadRetain is how long a dead letter stays.
	DeadRetain time.Duration `yaml:"dead_retain" range:"1m..87600h"`
	// MaxBytes is the size near which released records go early, and at which
	// webhooks are refused where none are released.
	MaxBytes Size `yaml:"max_bytes" range:"1MiB..1024TiB"`
	// MinFree is the free space below which webhooks are refused.
	MinFree Size `yaml:"min_free" range:"0..1024TiB"`
	// FailoverDir is a folder on another disk to write to while the first stalls.
	FailoverDir string `yaml:"failover_dir"`
}

// Redis is the shared store; without Addrs the embedded one is used, with
// Partitions and Refill as here.
type Redis struct {
	Addrs []string `yaml:"addrs"`
	// Master is the name Sentinel knows the master by; Addrs are then Sentinels.
	Master   string `yaml:"master"`
	Username string `yaml:"username"`
	Password string `yaml:"password" secret:"true"`
	DB       int    `yaml:"db" range:"0..1000000"`
	TLS      bool   `yaml:"tls"`
	// Prefix starts every key.
	Prefix string `yaml:"prefix"`
	// Partitions are fixed once a store was made: their number has two digits,
	// 00 to 99.
	Partitions int `yaml:"partitions" range:"1..100"`
	// Refill is how far back an empty store is filled from the log.
	Refill time.Duration `yaml:"refill" range:"0s..87600h"`
}

// Dedupe is how long an event is known to have been seen.
type Dedupe struct {
	Window time.Duration `yaml:"window" range:"1h..2160h"`
}

// Contacts is how long a silent contact is kept: a day at least, or for good
// where it is 0.
type Contacts struct {
	TTL time.Duration `yaml:"ttl" range:"0s..876000h"`
}

// Stream is the WebSocket.
type Stream struct {
	// JWTSecret pins HS256. Exactly one of it and JWTPublicKey is set.
	JWTSecret string `yaml:"jwt_secret" env:"SPILLWAY_JWT_SECRET" secret:"true"`
	// JWTPublicKey is a key in PEM: RSA pins RS256, P-256 ES256, Ed25519 EdDSA.
	JWTPublicKey string `yaml:"jwt_public_key"`
	// AllowedOrigins are scheme://host[:port], or *; none set allows any.
	AllowedOrigins []string `yaml:"allowed_origins"`
	// Sockets is how many may be open in all, SocketsPerToken with one token.
	Sockets         int `yaml:"sockets" range:"1..1000000"`
	SocketsPerToken int `yaml:"sockets_per_token" range:"1..1000000"`
	// Queue is how many events may wait for one socket.
	Queue int `yaml:"queue" range:"1..1000000"`
	// Retain and RetainBytes bound the events kept to resume from, in all.
	Retain      int  `yaml:"retain" range:"1..1000000000000"`
	RetainBytes Size `yaml:"retain_bytes" range:"1MiB..1024TiB"`
}

// Tracing is where traces of events go, as OpenTelemetry's OTLP over HTTP; without
// Endpoint nothing is traced.
type Tracing struct {
	// Endpoint is the base URL of a collector.
	Endpoint string `yaml:"endpoint"`
	// Ratio of the events is traced.
	Ratio float64 `yaml:"ratio" range:"0..1"`
}

// DefaultConfig is what holds where nothing is set. It lacks the secrets, and
// so is not valid by itself.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:8080",
		Admin:  "127.0.0.1:9090",
		Data:   "./data",
		TLS:    TLS{ClientName: "client.webhooks.fbclientcerts.com"},
		Limits: Limits{
			Body:        4 * MiB,
			InFlight:    256 * MiB,
			Connections: 10000,
			ReadTimeout: 10 * time.Second,
		},
		Log: Log{
			Retain:     24 * time.Hour,
			DeadRetain: 720 * time.Hour,
			MaxBytes:   20 * GiB,
			MinFree:    1 * GiB,
		},
		Redis:  Redis{Prefix: "spillway", Partitions: 32, Refill: 24 * time.Hour},
		Dedupe: Dedupe{Window: 192 * time.Hour},
		Stream: Stream{
			Sockets:         20000,
			SocketsPerToken: 1000,
			Queue:           1024,
			Retain:          1000000,
			RetainBytes:     2 * GiB,
		},
		Tracing: Tracing{Ratio: 0.001},
	}
}
