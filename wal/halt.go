package wal

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// haltFS stands between Pebble and its files, behind the retry of a full disk.
// An error of a file that commits depend on fails the log, and then never
// returns: Pebble panics where it cannot change to its next log file, with a
// mutex in a state that ends the process on the spot, before the requests that
// wait are answered and main has been told. The goroutine stays, as in Fatalf.
//
// With a second folder for the commit log Pebble itself writes what failed once
// more, to the other one. Then an error is handed to it, and only that of a
// folder whose other one failed too, and has not worked since, fails the log.
type haltFS struct {
	vfs.FS
	fail func(error)

	// other is that of the second folder, nil without one.
	other *haltFS
	// broken: the last operation on a commit log failed.
	broken atomic.Bool
}

// halt returns err, nil or not, where the log can go on.
func (h *haltFS) halt(what, name string, err error) error {
	if err == nil {
		h.broken.Store(false)
		return nil
	}
	h.broken.Store(true)
	if h.other != nil && !h.other.broken.Load() {
		return err
	}
	h.fail(fmt.Errorf("%s %s: %w", what, name, err))
	select {}
}

// isCommitLog is true for Pebble's own log, to which commits go.
func isCommitLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Unwrap is the file system behind.
func (h *haltFS) Unwrap() vfs.FS { return h.FS }

// Create guards the commit log.
func (h *haltFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := h.FS.Create(name, category)
	return h.guard("create", name, file, err)
}

// ReuseForWrite guards the commit log.
func (h *haltFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := h.FS.ReuseForWrite(old, name, category)
	return h.guard("create", name, file, err)
}

func (h *haltFS) guard(what, name string, file vfs.File, err error) (vfs.File, error) {
	if !isCommitLog(name) {
		return file, err
	}
	if err := h.halt(what, name, err); err != nil {
		return nil, err
	}
	return &haltFile{File: file, fs: h, name: name}, nil
}

// OpenDir guards the syncs of folders: a commit log is only there with its
// entry.
func (h *haltFS) OpenDir(name string) (vfs.File, error) {
	dir, err := h.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &haltFile{File: dir, fs: h, name: name}, nil
}

// haltFile is a commit log or a folder.
type haltFile struct {
	vfs.File
	fs   *haltFS
	name string
}

func (f *haltFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.halt("write", f.name, err)
}

func (f *haltFile) Sync() error {
	return f.fs.halt("sync", f.name, f.File.Sync())
}

func (f *haltFile) SyncData() error {
	return f.fs.halt("sync", f.name, f.File.SyncData())
}

func (f *haltFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.halt("sync", f.name, err)
}

func (f *haltFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.fs.halt("look at", f.name, err)
}

func (f *haltFile) Close() error {
	return f.fs.halt("close", f.name, f.File.Close())
}
