package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// A memtable, and the file of Pebble's own log beside it, takes this much;
	// at most memTables of them are in use.
	maxMemTable = 32 << 20
	minMemTable = 1 << 20
	memTables   = 4
	// tableSize is the size of the files that records end up in.
	tableSize = 32 << 20
	blockSize = 32 << 10
)

// options are Pebble's for a log: keys come in order, are read once soon after
// and deleted in order, so that tables need neither merging, compression (the
// disk is to be free for the next sync, not the processor busy), filters nor a
// large cache; and nothing but a full set of memtables may hold up a commit.
func (l *Log) options() *pebble.Options {
	files := &haltFS{FS: vfs.OnDiskFull(l.config.FS, l.space.giveBallast), fail: l.fail, failed: l.hasFailed}
	o := &pebble.Options{
		EventListener:               l.events(),
		FS:                          files,
		Lock:                        l.lock,
		ReadOnly:                    l.readOnly,
		Logger:                      &pebbleLogger{logger: l.logger, fatal: l.fail},
		FormatMajorVersion:          pebble.FormatWALSyncChunks,
		CacheSize:                   4 << 20,
		MemTableSize:                memTableSize(l.space.total),
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       1 << 20,
		LBaseMaxBytes:               16 * tableSize,
		BytesPerSync:                1 << 20,
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = tableSize
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	o.Experimental.SpanPolicyFunc = spans
	o.Experimental.ReadSamplingMultiplier = -1
	if l.config.FailoverDir != "" && !l.readOnly {
		o.WALFailover = l.failover(files)
	}
	return o
}

// events are what Pebble tells of.
func (l *Log) events() *pebble.EventListener {
	e := &pebble.EventListener{DataCorruption: l.reportDamage}
	if stalled := l.config.OnStall; stalled != nil {
		e.WriteStallBegin = func(pebble.WriteStallBeginInfo) { stalled(true) }
		e.WriteStallEnd = func() { stalled(false) }
	}
	return e
}

// PebbleMetrics are the database's own figures, nil once the log is closed. While
// the disk stalls or has failed it may not return.
func (l *Log) PebbleMetrics() *pebble.Metrics {
	if l.enter() != nil {
		return nil
	}
	defer l.leave()
	return l.db.Metrics()
}

// memTableSize leaves most of a small disk to the records.
func memTableSize(disk int64) uint64 {
	if disk == 0 {
		return maxMemTable
	}
	return uint64(min(max(disk/64, minMemTable), maxMemTable))
}

// openPebble opens the database. It watches for a failure meanwhile, because
// Pebble would then not come back.
func (l *Log) openPebble() (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		db, err := l.openFrom(l.options())
		done <- result{db, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("open %s: %w", l.config.Dir, r.err)
		}
		return r.db, nil
	case <-l.failed:
		return nil, l.failure
	}
}

// closePebble closes the database. It writes once more, and where that fails
// Pebble does not come back.
func (l *Log) closePebble() error {
	done := make(chan error, 1)
	go func() { done <- l.db.Close() }()
	select {
	case err := <-done:
		return err
	case <-l.failed:
		return l.failure
	}
}

// lockFolder makes the folder, durably, and locks it.
func lockFolder(files vfs.FS, dir string) (*pebble.Lock, error) {
	if err := makeFolder(files, dir); err != nil {
		return nil, fmt.Errorf("make folder %s (choose a writable one with data): %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, files)
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, fmt.Errorf("write to folder %s (choose a writable one with data): %w", dir, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s (stop the other one, or choose another folder with data): %w", ErrLocked, dir, err)
	}
	return lock, nil
}

// makeFolder makes dir and what is missing above it, and syncs the folders
// that got a new entry: what is synced in a folder that is lost is lost too.
func makeFolder(files vfs.FS, dir string) error {
	var parents []string
	for d := dir; ; d = files.PathDir(d) {
		info, err := files.Stat(d)
		if err == nil && !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: d, Err: errors.New("not a folder")}
		}
		if err == nil {
			break
		}
		if parents = append(parents, files.PathDir(d)); files.PathDir(d) == d {
			break
		}
	}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncFolder(files, parent); err != nil {
			return fmt.Errorf("sync folder %s: %w", parent, err)
		}
	}
	return nil
}

func syncFolder(files vfs.FS, dir string) error {
	d, err := files.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// pebbleLogger is where Pebble reports to.
type pebbleLogger struct {
	logger *slog.Logger
	fatal  func(error)
}

func (p *pebbleLogger) Infof(format string, args ...any) {
	if p.logger.Enabled(context.Background(), slog.LevelDebug) {
		p.logger.Debug("pebble says", "db", "log", "text", fmt.Sprintf(format, args...))
	}
}

func (p *pebbleLogger) Errorf(format string, args ...any) {
	p.logger.Warn("pebble complains", "db", "log", "text", fmt.Sprintf(format, args...))
}

// Fatalf never returns: where it does Pebble goes on as if nothing had
// happened, and what was not written counts as committed. The goroutine stays
// here, with the locks it holds, until the process ends.
func (p *pebbleLogger) Fatalf(format string, args ...any) {
	p.fatal(fmt.Errorf(format, args...))
	select {}
}
