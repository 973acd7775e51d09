package embedded

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	maxPartitions = 1024
	minWindow     = time.Hour
	maxWindow     = 90 * 24 * time.Hour
	minContactTTL = 24 * time.Hour
	minMemtable   = 64 << 10
	maxMemtable   = 1 << 30
)

// Config is what an embedded store is opened with.
type Config struct {
	// Dir is the store's folder; it is made where it does not exist.
	Dir string
	// Partitions is how many there are, 1 to 1024. It is fixed once Dir is made.
	Partitions int
	// Window is how long after an event's own time its redelivery is recognised
	// by that time, 1 h to 90 days.
	Window time.Duration
	// ContactTTL is how long a contact is kept that no message speaks of; at
	// least a day, or zero to keep all.
	ContactTTL time.Duration
	// Retain and RetainBytes bound what the streams of all partitions hold, in
	// events and in bytes before compression. Up to one part in 32 below that is
	// dropped at a time.
	Retain      int64
	RetainBytes int64
	// NoExpiry keeps all that Window, ContactTTL, Retain and RetainBytes would let
	// go: for one who opens a store without the settings it is run with.
	NoExpiry bool
	// CacheBytes is the size of the block cache, MemtableBytes that of one
	// memtable; there are four memtables at most.
	CacheBytes    int64
	MemtableBytes int64

	// FS is the file system, nil for the disk.
	FS vfs.FS
	// Now is the clock, nil for the system's.
	Now func() time.Time
	// OnFatal is called once, when the disk has failed and the store can do no
	// more. It should end the process; calls under way may never return.
	OnFatal func(error)
	// OnStall, where set, is told when Pebble begins and ends to hold up what is
	// applied, because flushes or compactions are behind; it must return at once.
	OnStall func(begins bool)
}

// DefaultConfig is the Config a store has where nothing else is said.
func DefaultConfig() Config {
	return Config{
		Dir:           filepath.Join("data", "store"),
		Partitions:    32,
		Window:        192 * time.Hour,
		Retain:        1_000_000,
		RetainBytes:   2 << 30,
		CacheBytes:    64 << 20,
		MemtableBytes: 16 << 20,
	}
}

// Validate returns all that is wrong with the Config, joined.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Dir != "", "dir: must be set")
	check(c.Partitions >= 1 && c.Partitions <= maxPartitions,
		"partitions: %d is not from 1 to %d", c.Partitions, maxPartitions)
	check(c.Window >= minWindow && c.Window <= maxWindow,
		"window: %v is not from %v to %v", c.Window, minWindow, maxWindow)
	check(c.ContactTTL == 0 || c.ContactTTL >= minContactTTL,
		"contact ttl: %v is neither 0 (keep) nor at least %v", c.ContactTTL, minContactTTL)
	check(c.Retain >= 1, "retain: %d is not at least 1 event", c.Retain)
	check(c.RetainBytes >= 1, "retain bytes: %d is not at least 1", c.RetainBytes)
	check(c.CacheBytes >= 0, "cache bytes: %d is negative", c.CacheBytes)
	check(c.MemtableBytes >= minMemtable && c.MemtableBytes <= maxMemtable,
		"memtable bytes: %d is not from %d to %d", c.MemtableBytes, minMemtable, maxMemtable)
	return errors.Join(errs...)
}

// withDefaults fills in what only tests set.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	return c
}
