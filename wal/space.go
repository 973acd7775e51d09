package wal

import (
	"errors"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	ballastName = "BALLAST"
	maxBallast  = 64 << 20
	// writtenTwice: a byte goes to Pebble's own log, then to a table.
	writtenTwice = 2
)

// space watches the free space of the log's disk, so that requests are refused
// before a write fails. A ballast file, given away when a write does fail,
// saves what was already taken.
type space struct {
	files   vfs.FS
	dir     string
	logger  *slog.Logger
	minFree int64
	// total is the size of the disk, 0 where it is not known.
	total int64
	// ballast is the size of the ballast file.
	ballast int64

	// free is what the disk had when last asked, less what was written since.
	free atomic.Int64
	// held says that there is a ballast file; spent that one was given away, and
	// that nothing is taken until there is room for another.
	held, spent atomic.Bool
}

// newSpace watches the space of a log that is written to.
func newSpace(files vfs.FS, dir string, minFree int64, logger *slog.Logger) *space {
	s := watchSpace(files, dir, minFree, logger)
	s.refresh()
	return s
}

// watchSpace only looks, and makes no ballast.
func watchSpace(files vfs.FS, dir string, minFree int64, logger *slog.Logger) *space {
	s := &space{files: files, dir: dir, logger: logger, minFree: minFree}
	s.free.Store(math.MaxInt64)
	if usage, err := files.GetDiskUsage(dir); err == nil {
		s.total = int64(usage.TotalBytes)
		s.ballast = ballastSize(s.total, minFree)
		s.free.Store(int64(min(usage.AvailBytes, math.MaxInt64)))
	}
	return s
}

// ballastSize is small beside the disk, and beside what is kept free anyway.
func ballastSize(disk, minFree int64) int64 {
	size := min(maxBallast, disk/64)
	if minFree > 0 {
		size = min(size, minFree/4)
	}
	return size
}

// short reports whether nothing more may be taken.
func (s *space) short() bool {
	return s.spent.Load() || s.free.Load() < s.minFree
}

// missing is how many bytes have to go until there is room to spare.
func (s *space) missing() int64 {
	if !s.short() {
		return 0
	}
	return max(s.minFree+s.minFree/4+2*s.ballast-s.free.Load(), 0)
}

// spend counts what was written; refresh looks again.
func (s *space) spend(bytes int64) {
	if s.total > 0 {
		s.free.Add(-writtenTwice * bytes)
	}
}

// refresh asks the disk, and makes the ballast file where there is none and
// room for it. One goroutine at a time may call it.
func (s *space) refresh() {
	usage, err := s.files.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		s.spent.Store(false)
		return
	}
	if err != nil {
		s.logger.Warn("cannot tell how much of the disk is free, trying again", "dir", s.dir, "error", err)
		return
	}
	free := int64(min(usage.AvailBytes, math.MaxInt64))
	s.free.Store(free)
	if s.held.Load() || free < s.minFree+s.ballast {
		return
	}
	if err := s.makeBallast(); err != nil {
		s.logger.Warn("cannot make the ballast file, trying again", "dir", s.dir, "error", err)
		return
	}
	s.free.Add(-s.ballast)
	s.held.Store(true)
	s.spent.Store(false)
}

func (s *space) path() string { return s.files.PathJoin(s.dir, ballastName) }

func (s *space) makeBallast() error {
	file, err := s.files.Create(s.path(), "spillway-ballast")
	if err != nil {
		return err
	}
	if s.ballast > 0 && file.Preallocate(0, s.ballast) != nil {
		err = fill(file, s.ballast)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, s.files.Remove(s.path()))
	}
	return nil
}

// fill writes size bytes, for file systems that cannot reserve them.
func fill(file vfs.File, size int64) error {
	chunk := make([]byte, 1<<20)
	for ; size > 0; size -= int64(len(chunk)) {
		if _, err := file.Write(chunk[:min(size, int64(len(chunk)))]); err != nil {
			return err
		}
	}
	return nil
}

// giveBallast runs when a write found the disk full, before it is tried again.
func (s *space) giveBallast() {
	s.spent.Store(true)
	if !s.held.Swap(false) {
		return
	}
	if err := s.files.Remove(s.path()); err != nil {
		s.logger.Error("disk full, and the ballast file cannot be removed: make room", "dir", s.dir, "error", err)
		return
	}
	s.logger.Error("disk full: the ballast file is given away, webhooks are refused until there is room", "dir", s.dir)
}
