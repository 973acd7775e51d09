package stream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config says who may listen and how much a listener may cost.
type Config struct {
	// Secret is the HS256 key of the tokens; exclusive with PublicKey.
	Secret string
	// PublicKey is a PEM public key. Its type pins the algorithm: RSA of at least
	// 2048 bits RS256, P-256 ES256, Ed25519 EdDSA.
	PublicKey string
	// AllowedOrigins are the values of the Origin header that may connect:
	// scheme://host[:port], or "*". Empty allows any, for it is the token that
	// authorises, and no cookie is ever read.
	AllowedOrigins []string

	// Sockets is how many may be open at once; one more is answered 503.
	Sockets int
	// SocketsPerToken is how many of them may be open with one token; one more is
	// closed with 1013.
	SocketsPerToken int
	// Queue and QueueBytes bound the events that wait for one live socket.
	Queue      int
	QueueBytes int64
	// BurstGrace is how long a live socket whose queue ran over may take to be
	// level again, by reading from the store, before it is closed with 4008.
	// Zero closes it at once.
	BurstGrace time.Duration

	// CatchUps is how many sockets read from the store at once, CatchUpBytes how
	// much of it each of them holds in memory.
	CatchUps     int
	CatchUpBytes int

	// FollowLinger is how long the store is still followed after the last socket
	// has gone, so that one that comes back does not wait.
	FollowLinger time.Duration

	// AuthTimeout is how long the first message may take when no token came with
	// the request.
	AuthTimeout time.Duration
	// PingInterval is the time between pings; PongTimeout how long after the next
	// ping was due a silent peer is given up.
	PingInterval, PongTimeout time.Duration
	// PositionInterval is the time between two stream:position messages.
	PositionInterval time.Duration
	// WriteTimeout bounds one write, CloseTimeout the wait for the peer's half of
	// the closing handshake.
	WriteTimeout, CloseTimeout time.Duration
	// SendBuffer is the size of the kernel's send buffer, in bytes.
	SendBuffer int

	// Tracer is told of events that live sockets were sent; nil for none.
	Tracer Tracer
}

// DefaultConfig has every default; only the key is missing.
func DefaultConfig() Config {
	return Config{
		Sockets:          20000,
		SocketsPerToken:  1000,
		Queue:            1024,
		QueueBytes:       8 << 20,
		BurstGrace:       2 * time.Second,
		CatchUps:         64,
		CatchUpBytes:     512 << 10,
		FollowLinger:     10 * time.Second,
		AuthTimeout:      5 * time.Second,
		PingInterval:     30 * time.Second,
		PongTimeout:      15 * time.Second,
		PositionInterval: 30 * time.Second,
		WriteTimeout:     30 * time.Second,
		CloseTimeout:     time.Second,
		SendBuffer:       256 << 10,
	}
}

// Validate tells all mistakes at once, joined.
func (c *Config) Validate() error {
	var mistakes []error
	if _, err := newVerifier(c.Secret, c.PublicKey); err != nil {
		mistakes = append(mistakes, err)
	}
	for _, origin := range c.AllowedOrigins {
		if err := validOrigin(origin); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	positive := func(name string, value int64) {
		if value <= 0 {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, must be above 0", name, value))
		}
	}
	positive("sockets", int64(c.Sockets))
	positive("sockets per token", int64(c.SocketsPerToken))
	positive("queue", int64(c.Queue))
	positive("queue bytes", c.QueueBytes)
	positive("catch-ups", int64(c.CatchUps))
	positive("catch-up bytes", int64(c.CatchUpBytes))
	positive("send buffer", int64(c.SendBuffer))
	positive("follow linger", int64(c.FollowLinger))
	positive("auth timeout", int64(c.AuthTimeout))
	positive("ping interval", int64(c.PingInterval))
	positive("pong timeout", int64(c.PongTimeout))
	positive("position interval", int64(c.PositionInterval))
	positive("write timeout", int64(c.WriteTimeout))
	positive("close timeout", int64(c.CloseTimeout))
	if c.BurstGrace < 0 {
		mistakes = append(mistakes, fmt.Errorf("burst grace is %s, must not be below 0", c.BurstGrace))
	}
	return errors.Join(mistakes...)
}

func validOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("allowed origin %q is not scheme://host[:port] or *", origin)
	}
	return nil
}
