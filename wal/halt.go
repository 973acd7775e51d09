package wal

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// haltFS stands between Pebble and its files, behind the retry of a full disk.
// An error of a file that commits depend on fails the log, and then never
// returns: Pebble panics where it cannot change to its next log file, with a
// mutex in a state that ends the process on the spot, before the requests that
// wait are answered and main has been told. The goroutine stays, as in Fatalf.
type haltFS struct {
	vfs.FS
	fail func(error)
}

// halt returns where err is nil.
func (h *haltFS) halt(what, name string, err error) {
	if err != nil {
		h.fail(fmt.Errorf("%s %s: %w", what, name, err))
		select {}
	}
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
	h.halt(what, name, err)
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
	f.fs.halt("write", f.name, err)
	return n, nil
}

func (f *haltFile) Sync() error {
	f.fs.halt("sync", f.name, f.File.Sync())
	return nil
}

func (f *haltFile) SyncData() error {
	f.fs.halt("sync", f.name, f.File.SyncData())
	return nil
}

func (f *haltFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.fs.halt("sync", f.name, err)
	return full, nil
}

func (f *haltFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.fs.halt("look at", f.name, err)
	return info, nil
}

func (f *haltFile) Close() error {
	f.fs.halt("close", f.name, f.File.Close())
	return nil
}
