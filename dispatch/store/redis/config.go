package redis

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"time"
)

const (
	maxPartitions = 100
	minWindow     = time.Hour
	maxWindow     = 90 * day
	minContactTTL = day
)

// Config is what a store is opened with.
type Config struct {
	// Addrs are host:port: one server, the Sentinels where Master is set, else
	// nodes of a Cluster where there are several.
	Addrs []string
	// Master is the name the Sentinels know the primary by.
	Master string
	// Username and Password authenticate at the servers, not at Sentinels; DB is
	// not for a Cluster.
	Username, Password string
	DB                 int
	// TLS makes all connections TLS 1.2 or newer; the servers' certificates must be
	// for the names or addresses they are reached by.
	TLS bool
	// Prefix starts every key.
	Prefix string
	// Partitions is how many there are, 1 to 100. It is fixed once the store is
	// made.
	Partitions int
	// Window is how long after an event's own time its redelivery is recognised
	// by that time, 1 h to 90 days.
	Window time.Duration
	// ContactTTL is how long a contact is kept that no message speaks of; at
	// least a day, or zero to keep all.
	ContactTTL time.Duration
	// Retain and RetainBytes bound what the streams of all partitions hold, in
	// events and in bytes of their payloads; each partition has an equal share,
	// and goes up to one part in 32 and one batch beyond it.
	Retain      int64
	RetainBytes int64

	// RootCAs are trusted with TLS, nil for the system's.
	RootCAs *x509.CertPool
	// Now is the clock, nil for the system's.
	Now func() time.Time
	// OnFatal is called once, when the store was found to have another layout
	// than it was opened with. It should end the process.
	OnFatal func(error)
}

// DefaultConfig is the Config a store has where nothing else is said; Addrs must
// be set.
func DefaultConfig() Config {
	return Config{
		Prefix:      "spillway",
		Partitions:  32,
		Window:      192 * time.Hour,
		Retain:      1_000_000,
		RetainBytes: 2 << 30,
	}
}

var prefixes = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// Validate returns all that is wrong with the Config, joined.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(c.Addrs) > 0, "addrs: must be set")
	check(c.DB >= 0, "db: %d is negative", c.DB)
	check(c.DB == 0 || !c.isCluster(), "db: %d is not 0, and a Cluster has no other", c.DB)
	check(prefixes.MatchString(c.Prefix), "prefix: %q is not 1 to 64 letters, digits, dots, colons, dashes and underscores", c.Prefix)
	check(c.Partitions >= 1 && c.Partitions <= maxPartitions, "partitions: %d is not from 1 to %d", c.Partitions, maxPartitions)
	check(c.Window >= minWindow && c.Window <= maxWindow, "window: %v is not from %v to %v", c.Window, minWindow, maxWindow)
	check(c.ContactTTL == 0 || c.ContactTTL >= minContactTTL,
		"contact ttl: %v is neither 0 (keep) nor at least %v", c.ContactTTL, minContactTTL)
	check(c.Retain >= 1, "retain: %d is not at least 1 event", c.Retain)
	check(c.RetainBytes >= 1, "retain bytes: %d is not at least 1", c.RetainBytes)
	return errors.Join(errs...)
}

func (c Config) isCluster() bool { return c.Master == "" && len(c.Addrs) > 1 }

// withDefaults fills in what only tests set.
func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	return c
}
