package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// minMaxBytes is the least a log can be limited to: a few full batches.
	minMaxBytes = 1 << 20
	// youngest is how old a record has to be to go before its time.
	youngest = 10 * time.Minute
	// tickEvery is how often the janitor looks at space and releases.
	tickEvery = time.Second
)

// Config says where a log is and how much it keeps.
type Config struct {
	// Dir is the log's own folder, made where it is missing.
	Dir string
	// Retain is how long released records stay, from their receipt.
	Retain time.Duration
	// DeadRetain is how long dead letters stay, from the record's receipt.
	DeadRetain time.Duration
	// MaxBytes bounds the records. Near it, released ones older than ten minutes
	// go early; at it, where all that counts is not released, Append gives
	// ErrFull. Dead letters don't count.
	MaxBytes int64
	// MinFree is the free disk space, in bytes, below which Append gives ErrFull.
	MinFree int64
	// FailoverDir is a folder on another disk, made where it is missing, to which
	// commits go while the disk of Dir stalls or fails; empty for none.
	FailoverDir string
	// FS is the file system, the operating system's where nil.
	FS vfs.FS
	// OnFatal is called once, in a goroutine of its own, when the disk has failed
	// in a way after which it is unknown what is on it. All appends from then on
	// get ErrFailed; the process has to end, and only its main may end it.
	OnFatal func(error)
	// OnStall, where set, is told when Pebble begins and ends to hold up commits
	// because its memtables are full; it must return at once.
	OnStall func(begins bool)

	now  func() time.Time
	tick time.Duration
}

// DefaultConfig is a log without a Dir.
func DefaultConfig() Config {
	return Config{
		Retain:     24 * time.Hour,
		DeadRetain: 720 * time.Hour,
		MaxBytes:   20 << 30,
		MinFree:    1 << 30,
	}
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var mistakes []error
	mistake := func(wrong bool, format string, args ...any) {
		if wrong {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	mistake(c.Dir == "", "data: a folder for the log is needed")
	mistake(c.FailoverDir != "" && within(c.FailoverDir, c.Dir),
		"log.failover_dir: %s is the folder of the log, or inside it; it has to be on another disk", c.FailoverDir)
	mistake(c.Retain < 0, "log.retain: %s is negative", c.Retain)
	mistake(c.DeadRetain < 0, "log.dead_retain: %s is negative", c.DeadRetain)
	mistake(c.MaxBytes < minMaxBytes, "log.max_bytes: %d is below %d", c.MaxBytes, minMaxBytes)
	mistake(c.MinFree < 0, "log.min_free: %d is negative", c.MinFree)
	return errors.Join(mistakes...)
}

// within reports whether a path is dir or below it.
func within(path, dir string) bool {
	path, dir = filepath.Clean(path), filepath.Clean(dir)
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// withDefaults also makes the paths absolute: Pebble notes that of FailoverDir for
// the next start, which may have another working folder.
func (c Config) withDefaults() (Config, error) {
	for _, path := range []*string{&c.Dir, &c.FailoverDir} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return c, fmt.Errorf("make path %s absolute: %w", *path, err)
		}
		*path = absolute
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.tick == 0 {
		c.tick = tickEvery
	}
	return c, nil
}
