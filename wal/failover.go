package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
	"github.com/google/uuid"
)

const (
	// A commit that takes this long goes to the other disk. A sync takes well
	// below a millisecond as a rule, and Meta wants the median of its answers
	// under 250 ms: half of that is left to notice and to switch.
	stallThreshold = 100 * time.Millisecond
	stallSampling  = 25 * time.Millisecond
	// The first disk is used again after this long without a slow probe.
	healthyFor = 15 * time.Second

	// ownerName is a file in both folders that says that they belong together.
	ownerName = "FAILOVER-OWNER"
)

// failover lets Pebble write its log to the second folder.
func (l *Log) failover(first *haltFS) *pebble.WALFailoverOptions {
	return &pebble.WALFailoverOptions{
		Secondary: wal.Dir{FS: first.spare(l.config.FS), Dirname: l.config.FailoverDir},
		FailoverOptions: wal.FailoverOptions{
			UnhealthySamplingInterval: stallSampling,
			UnhealthyOperationLatencyThreshold: func() (time.Duration, bool) {
				return stallThreshold, true
			},
			HealthyInterval: healthyFor,
		},
	}
}

// openFrom opens the database. Where an earlier run had another FailoverDir,
// which may hold records, that folder is read too.
func (l *Log) openFrom(o *pebble.Options) (*pebble.DB, error) {
	db, err := pebble.Open(l.config.Dir, o)
	var missing pebble.ErrMissingWALRecoveryDir
	if !errors.As(err, &missing) {
		return db, l.explainOpen(err)
	}
	if _, statErr := l.config.FS.Stat(missing.Dir); statErr != nil {
		return nil, fmt.Errorf("records may be in %s, which was log.failover_dir before: bring that folder back, and set log.failover_dir to it or leave it to be read: %w",
			missing.Dir, statErr)
	}
	if err := l.checkOwner(missing.Dir, false); err != nil {
		return nil, err
	}
	l.logger.Info("reading what an earlier log.failover_dir holds", "dir", missing.Dir)
	o = l.options()
	o.WALRecoveryDirs = []wal.Dir{{FS: l.config.FS, Dirname: missing.Dir}}
	db, err = pebble.Open(l.config.Dir, o)
	return db, l.explainOpen(err)
}

// lockFailover makes and locks the second folder, and makes sure that it is this
// log's: the commit logs of another one would be taken for its own.
func (l *Log) lockFailover() (*pebble.Lock, error) {
	if l.config.FailoverDir == "" {
		return nil, nil
	}
	lock, err := lockFolder(l.config.FS, l.config.FailoverDir)
	if err != nil {
		return nil, fmt.Errorf("log.failover_dir: %w", err)
	}
	if err := l.checkOwner(l.config.FailoverDir, true); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// checkOwner compares the owner files of both folders; where the second has none
// it is claimed.
func (l *Log) checkOwner(second string, claim bool) error {
	files := l.config.FS
	firstPath, secondPath := files.PathJoin(l.config.Dir, ownerName), files.PathJoin(second, ownerName)
	own, err := readOwnerFile(files, firstPath)
	if err != nil {
		return err
	}
	theirs, err := readOwnerFile(files, secondPath)
	switch {
	case err != nil:
		return err
	case theirs != "" && theirs != own:
		return fmt.Errorf("log.failover_dir: %s belongs to another log: choose another folder", second)
	case theirs != "" || !claim:
		return nil
	}
	if own == "" {
		own = uuid.NewString()
		if err := writeOwnerFile(files, l.config.Dir, firstPath, own); err != nil {
			return err
		}
	}
	return writeOwnerFile(files, second, secondPath, own)
}

func readOwnerFile(files vfs.FS, path string) (string, error) {
	file, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read owner of folder: %w", err)
	}
	b, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("read owner of folder: %w", err)
	}
	return string(b), nil
}

func writeOwnerFile(files vfs.FS, dir, path, owner string) error {
	file, err := files.Create(path, "spillway-failover")
	if err == nil {
		_, err = file.Write([]byte(owner))
		err = errors.Join(err, file.Sync(), file.Close(), syncFolder(files, dir))
	}
	if err != nil {
		return fmt.Errorf("write owner of folder: %w", err)
	}
	return nil
}
