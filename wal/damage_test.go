package wal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// damagedLog makes a log on disk with tables and a commit log, and damages the
// newest file whose name matches the pattern.
func damagedLog(t *testing.T, pattern string, damage func(path string) error) Config {
	t.Helper()
	config := DefaultConfig()
	config.Dir, config.MinFree, config.FS = filepath.Join(t.TempDir(), "log"), 0, vfs.Default
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 2000, 600)
	if err := l.db.Flush(); err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 100, 600)
	closeLog(t, l)
	files, err := filepath.Glob(filepath.Join(config.Dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	if err := damage(slices.Max(files)); err != nil {
		t.Fatal(err)
	}
	return config
}

// flip turns the bits of one byte, a share of the file's size from its start.
func flip(share float64) func(string) error {
	return func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[int(share*float64(len(b)))] ^= 0xff
		return os.WriteFile(path, b, 0o600)
	}
}

// rename gives a file another name in its folder.
func rename(name string) func(string) error {
	return func(path string) error { return os.Rename(path, filepath.Join(filepath.Dir(path), name)) }
}

// TestDamage: what can be seen stops the start or the read, and names the file
// and what to do.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct {
		file   string
		damage func(string) error
		names  string
	}{
		"table with a flipped bit": {"*.sst", flip(0.5), ".sst"},
		"table missing":            {"*.sst", os.Remove, "type sstable"},
		"table cut short":          {"*.sst", func(p string) error { return os.Truncate(p, 1000) }, ".sst"},
		"manifest flipped":         {"MANIFEST-*", flip(0.1), "damaged or missing"},
		"manifest missing":         {"MANIFEST-*", os.Remove, "MANIFEST"},
		"manifest's name damaged":  {"marker.manifest.*", rename("marker.manifest.000099.MANIFOLD"), "MANIFOLD"},
		"format missing":           {"marker.format-version.*", os.Remove, "pristine"},
		"commit log flipped":       {"*.log", flip(0.1), "invalid chunk"},
	} {
		t.Run(name, func(t *testing.T) {
			config := damagedLog(t, c.file, c.damage)
			config.OnFatal = func(err error) { t.Errorf("fatal: %v", err) }
			err := readWhole(t, config)
			if !errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "restore") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestNotDamage: what Pebble refuses for another reason is not called damage, for
// the advice that comes with that would lose a log that is whole.
func TestNotDamage(t *testing.T) {
	config := damagedLog(t, "marker.format-version.*", rename("marker.format-version.000099.099"))
	_, err := Open(config, nil, nil)
	if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "unknown format major version 99") || strings.Contains(err.Error(), "restore") {
		t.Errorf("a folder of a newer version: %v", err)
	}
}

// readWhole opens a log and reads the bulk lane up to the first error.
func readWhole(t *testing.T, config Config) error {
	t.Helper()
	l, err := Open(config, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	r := l.Reader(Bulk, 1)
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := uint64(0); n < l.Head(Bulk); {
		records, err := r.Next(ctx, 100, 1<<20)
		if err != nil {
			return err
		}
		n += uint64(len(records))
	}
	return nil
}

// TestLostTail: Pebble takes a commit log that is cut short, flipped at its end
// or gone for one that was never written. The log then ends earlier, whole and
// in order; that records are missing is found by the cursors of the store.
func TestLostTail(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"truncated": func(p string) error { return os.Truncate(p, 20_000) },
		"removed":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			config := damagedLog(t, "*.log", damage)
			l := open(t, config)
			head := l.Head(Bulk)
			if head < 2000 || head >= 2100 {
				t.Errorf("head %d, want less than the 2100 that were appended and no less than the 2000 in tables", head)
			}
			if got := readAll(t, l, Bulk, head); uint64(len(got)) != head {
				t.Errorf("%d records read of %d", len(got), head)
			}
		})
	}
}
