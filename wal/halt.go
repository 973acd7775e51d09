package wal

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// haltFS stands between Pebble and its files, behind the retry of a full disk.
// An error of a file that commits depend on fails the log, and then never
// returns: Pebble panics where it cannot change to its next log file, with a
// mutex in a state that ends the process on the spot, before the requests that
// wait are answered and main has been told. The goroutine stays, as in Fatalf.
//
// With a second folder for the commit log Pebble itself writes what failed once
// more, to the other one. But it looks for errors every stallSampling alone, and
// where it closes a commit log before it has seen one, it panics all the same. So
// an error is held back, which is a stall to Pebble, until it has left that
// commit log for one in the other folder: the error of a log that it has left
// harms nothing. Where it stays, or the other folder failed too and has not
// worked since, the log fails. So it does where an entry of the first folder
// cannot be synced: tables are there too, and no other folder helps.
type haltFS struct {
	vfs.FS
	fail   func(error)
	failed func() bool

	// other is that of the second folder, or of the first; nil without a second.
	other *haltFS
	// second is true for that of the second folder, which has commit logs alone.
	second bool
	// broken: the last operation on a commit log failed.
	broken atomic.Bool
	// made counts the commit logs of both folders, and own is the last of this
	// one: Pebble has left it where made is greater.
	made *atomic.Int64
	own  atomic.Int64
}

const (
	// holdLimit is how long an error is held back. Pebble leaves a disk that stalls
	// after stallThreshold, and once it has come back to it after twice as long as
	// the time before: 2.4 s at the fifth time between two memtables, after which
	// it stays with the second disk.
	holdLimit = 5 * time.Second
	holdCheck = 5 * time.Millisecond
)

// spare gives that of a second folder for the commit log.
func (h *haltFS) spare(files vfs.FS) *haltFS {
	h.made = new(atomic.Int64)
	h.other = &haltFS{FS: files, fail: h.fail, failed: h.failed, other: h, second: true, made: h.made}
	return h.other
}

// halt returns err, nil or not, where the log can go on. number is that of the
// commit log.
func (h *haltFS) halt(what, name string, number int64, err error) error {
	if err == nil {
		h.broken.Store(false)
		return nil
	}
	h.broken.Store(true)
	if h.other != nil && !h.other.broken.Load() && h.hold(number) {
		return err
	}
	return h.stop(what, name, err)
}

// haltFolder does so for a folder.
func (h *haltFS) haltFolder(what, name string, err error) error {
	switch own := h.own.Load(); {
	case h.second && own > 0:
		return h.halt(what, name, own, err)
	case err == nil || h.second: // Open tells
		return err
	}
	return h.stop(what, name, err)
}

// hold waits until Pebble has left a commit log; false where it does not.
func (h *haltFS) hold(number int64) bool {
	for end := time.Now().Add(holdLimit); h.made.Load() <= number; time.Sleep(holdCheck) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// stop fails the log.
func (h *haltFS) stop(what, name string, err error) error {
	h.fail(fmt.Errorf("%s %s: %w", what, name, err))
	select {}
}

// isCommitLog is true for Pebble's own log, to which commits go.
func isCommitLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Unwrap is the file system behind.
func (h *haltFS) Unwrap() vfs.FS { return h.FS }

// Create guards the commit log.
func (h *haltFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return h.guard(name, func() (vfs.File, error) { return h.FS.Create(name, category) })
}

// ReuseForWrite guards the commit log.
func (h *haltFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return h.guard(name, func() (vfs.File, error) { return h.FS.ReuseForWrite(old, name, category) })
}

// guard numbers a commit log before it is made: by then Pebble has left the one
// before it.
func (h *haltFS) guard(name string, create func() (vfs.File, error)) (vfs.File, error) {
	if !isCommitLog(name) {
		return create()
	}
	if h.failed() { // what waits for ever is a stall to Pebble
		select {}
	}
	var number int64
	if h.other != nil {
		number = h.made.Add(1)
		h.own.Store(number)
	}
	file, err := create()
	if err := h.halt("create", name, number, err); err != nil {
		return nil, err
	}
	return &haltFile{File: file, fs: h, name: name, number: number}, nil
}

// OpenDir guards the syncs of folders: a commit log is only there with its
// entry.
func (h *haltFS) OpenDir(name string) (vfs.File, error) {
	dir, err := h.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &haltFile{File: dir, fs: h, name: name, folder: true}, nil
}

// haltFile is a commit log or a folder.
type haltFile struct {
	vfs.File
	fs     *haltFS
	name   string
	folder bool
	number int64 // of a commit log
}

func (f *haltFile) halt(what string, err error) error {
	if f.folder {
		return f.fs.haltFolder(what, f.name, err)
	}
	return f.fs.halt(what, f.name, f.number, err)
}

func (f *haltFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.halt("write", err)
}

func (f *haltFile) Sync() error { return f.halt("sync", f.File.Sync()) }

func (f *haltFile) SyncData() error { return f.halt("sync", f.File.SyncData()) }

func (f *haltFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.halt("sync", err)
}

// Stat fails the log even where there is a second folder, for Pebble does not
// notice: it would write to neither.
func (f *haltFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, f.fs.stop("look at", f.name, err)
	}
	return info, nil
}

// Close tells no error where there is a second folder, for Pebble panics of it.
// It has synced the file before, or has told the error of that.
func (f *haltFile) Close() error {
	err := f.File.Close()
	if f.fs.other != nil {
		return nil
	}
	return f.halt("close", err)
}
