package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// OpenReadOnly opens a log to look into it, and changes nothing in its folder.
// What would write fails with ErrReadOnly; Release does nothing. ErrLocked where
// a process has the log open; an fs.ErrNotExist where there is none.
func OpenReadOnly(config Config, logger *slog.Logger) (*Log, error) {
	l, err := newLog(config, logger)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.readOnly = true
	if err := l.openReadOnly(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return l, nil
}

func (l *Log) openReadOnly() (err error) {
	files, dir := l.config.FS, l.config.Dir
	there, err := pebble.Peek(dir, files)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if err != nil || !there.Exists {
		return fmt.Errorf("no log in %s: %w", dir, fs.ErrNotExist)
	}
	if l.lock, err = lockFolder(files, dir); err != nil {
		return err
	}
	l.space = watchSpace(files, dir, l.config.MinFree, l.logger)
	if l.db, err = l.openPebble(); err != nil {
		return errors.Join(err, l.unlock())
	}
	if err = l.load(); err == nil {
		l.metrics, err = newMetrics(nil, l)
	}
	if err == nil && l.node.Load() == nil {
		err = fmt.Errorf("no log in %s: it has no identity yet: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return errors.Join(err, l.closePebble(), l.unlock())
	}
	return nil
}
