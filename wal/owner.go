package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

// FailoverOwner is a file in the log's folder and in each second folder it ever had,
// by which they know each other. A line is an id, which the two share; whether
// records may be in that folder alone, used or free; and its path:
//
//	7d3c0f52-9a41-4c0e-8f0e-2b6a5d1f9c11 used "/mnt/second/spillway"
//	1b9e4a70-52cd-4f63-b1c2-90d7e8a6f3d4 free "/mnt/earlier/spillway"
//
// The second folder has its own line, as it was when it was taken. An id is made
// for each folder that was empty: a folder that was taken where a disk was not
// mounted is not mistaken for the one on that disk, nor the other way round.
const FailoverOwner = "FAILOVER-OWNER"

// owner is one line.
type owner struct {
	id   string
	used bool
	dir  string
}

// owners are the lines of a file, one a folder.
type owners []owner

func (o owners) encode() []byte {
	var b []byte
	for _, line := range o {
		state := "free"
		if line.used {
			state = "used"
		}
		b = fmt.Appendf(b, "%s %s %q\n", line.id, state, line.dir)
	}
	return b
}

func parseOwners(b []byte) (o owners, err error) {
	for text := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSuffix(text, "\n"), " ", 3)
		if len(part) != 3 || part[1] != "used" && part[1] != "free" {
			return nil, fmt.Errorf("%q is no line of it", text)
		}
		dir, err := strconv.Unquote(part[2])
		if err != nil {
			return nil, fmt.Errorf("%q is no line of it: %w", text, err)
		}
		o = append(o, owner{id: part[0], used: part[1] == "used", dir: dir})
	}
	return o, nil
}

// at is the line of a folder, empty where there is none.
func (o owners) at(dir string) owner {
	for _, line := range o {
		if line.dir == dir {
			return line
		}
	}
	return owner{}
}

func (o owners) has(id string) bool {
	return slices.ContainsFunc(o, func(line owner) bool { return line.id == id })
}

// with replaces the line of a folder.
func (o owners) with(line owner) owners {
	others := slices.DeleteFunc(slices.Clone(o), func(other owner) bool { return other.dir == line.dir })
	return append(others, line)
}

// find says what a folder is to the log, by the lines of its file, and gives the
// log's line of it: that of another path where it was moved.
func (o owners) find(dir string, theirs owners) (line owner, v verdict) {
	for _, line := range o {
		if line.used && theirs.has(line.id) {
			return line, ours
		}
	}
	switch expected := o.at(dir); {
	case len(theirs) == 0 && expected.used:
		return owner{}, absent
	case len(theirs) == 0:
		return owner{}, fresh
	case expected.used:
		return owner{}, foreign
	}
	for _, line := range o {
		if theirs.has(line.id) {
			return line, ours
		}
	}
	return owner{}, foreign
}

// verdict is what a second folder is to a log.
type verdict int

const (
	ours    verdict = iota + 1
	fresh           // without a file, and not used before
	absent          // without a file, where records may be
	foreign         // of another log, or taken at another time
)

// refuse says why a folder must not be taken, nil where it can be.
func (l *Log) refuse(dir string, v verdict) error {
	switch v {
	case absent:
		return errAbsent(dir, fmt.Sprintf("make that folder and copy %s into it", l.config.FS.PathJoin(l.config.Dir, FailoverOwner)))
	case foreign:
		return fmt.Errorf("log.failover_dir: %s belongs to another log, or is not the folder that was there before: mount the right disk, or set log.failover_dir to where that folder is now, or to an empty one", dir)
	}
	return nil
}

// errAbsent is for a folder that is not there, where records may be.
func errAbsent(dir, without string) error {
	return fmt.Errorf("log.failover_dir: records may be in %s, which is missing or empty: is its disk mounted? "+
		"Where that folder is at another path now, set log.failover_dir to it. To go on without those records on purpose, %s", dir, without)
}

// CheckFailoverDir gives the error that Open would give for what FailoverDir is,
// and changes nothing: records may be in a folder that is missing or empty, or it
// is another log's. It may be called while the log is open.
func CheckFailoverDir(config Config) error {
	l, err := newLog(config, nil)
	if err != nil || l.config.FailoverDir == "" {
		return err
	}
	_, _, v, err := l.findSecond(l.config.FailoverDir)
	return errors.Join(err, l.refuse(l.config.FailoverDir, v))
}

// takeSecond makes the second folder the log's, where it is not another's.
func (l *Log) takeSecond(dir string) error {
	files := l.config.FS
	own, line, v, err := l.findSecond(dir)
	if err == nil {
		err = l.refuse(dir, v)
	}
	if err != nil {
		return err
	}
	if v == fresh {
		// Free at first: after a crash before the other file is there, or before it
		// is known to be there, no record is in that folder, and it is taken again.
		line = owner{id: uuid.NewString(), dir: dir}
		if err := writeOwners(files, l.config.Dir, own.with(line)); err != nil {
			return err
		}
		if err := writeOwners(files, dir, owners{line}); err != nil {
			return err
		}
	}
	if line.used && line.dir == dir {
		return nil
	}
	line.used, line.dir = true, dir
	return writeOwners(files, l.config.Dir, own.with(line))
}

// findSecond says what a folder is to the log, and gives the log's lines and the
// one of that folder.
func (l *Log) findSecond(dir string) (own owners, line owner, v verdict, err error) {
	if own, err = readOwners(l.config.FS, l.config.Dir); err != nil {
		return nil, owner{}, 0, err
	}
	theirs, err := readOwners(l.config.FS, dir)
	if err != nil {
		return nil, owner{}, 0, err
	}
	line, v = own.find(dir, theirs)
	return own, line, v, nil
}

// freeOthers writes down that records are in no second folder but the current
// one. That is so once a log is open: what was elsewhere is in tables.
func (l *Log) freeOthers() error {
	own, err := readOwners(l.config.FS, l.config.Dir)
	if err != nil {
		return err
	}
	current := own.at(l.config.FailoverDir)
	var left owners
	for _, line := range own {
		if line.id == current.id && line.dir != current.dir {
			continue // it was moved
		}
		line.used = line.used && line == current
		left = append(left, line)
	}
	if slices.Equal(own, left) {
		return nil
	}
	return writeOwners(l.config.FS, l.config.Dir, left)
}

// readOwners reads the file in a folder; none, and no folder, is no line.
func readOwners(files vfs.FS, dir string) (owners, error) {
	path := files.PathJoin(dir, FailoverOwner)
	file, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read owner of folder: %w", err)
	}
	b, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read owner of folder: %w", err)
	}
	o, err := parseOwners(b)
	if err != nil {
		return nil, fmt.Errorf("read owner of folder: %s: %w", path, err)
	}
	return o, nil
}

// writeOwners replaces the file in a folder, as a whole or not at all.
func writeOwners(files vfs.FS, dir string, o owners) error {
	path := files.PathJoin(dir, FailoverOwner)
	file, err := files.Create(path+".new", "spillway-failover")
	if err == nil {
		_, err = file.Write(o.encode())
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err == nil {
		err = files.Rename(path+".new", path)
	}
	if err == nil {
		err = syncFolder(files, dir)
	}
	if err != nil {
		return fmt.Errorf("write owner of folder: %w", err)
	}
	return nil
}
