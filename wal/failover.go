package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/wal"
)

const (
	// A commit that takes this long goes to the other disk. A sync takes well
	// below a millisecond as a rule, and Meta wants the median of its answers
	// under 250 ms: half of that is left to notice and to switch.
	stallThreshold = 100 * time.Millisecond
	stallSampling  = 25 * time.Millisecond
	// The first disk is used again after this long without a slow probe.
	healthyFor = 15 * time.Second
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
	dir, err := l.recoveryDir(missing.Dir)
	if err != nil {
		return nil, err
	}
	l.logger.Info("reading what an earlier log.failover_dir holds", "dir", dir)
	o = l.options()
	o.Unsafe.AllowMissingWALDirs = dir != missing.Dir // it is at another path
	if o.WALFailover == nil || dir != l.config.FailoverDir {
		o.WALRecoveryDirs = []wal.Dir{{FS: l.config.FS, Dirname: dir}}
	}
	db, err = pebble.Open(l.config.Dir, o)
	return db, l.explainOpen(err)
}

// recoveryDir is where the second folder is now: at the path it had, or that of
// FailoverDir. Its owner file tells, for a stranger's may be at either path, as
// where the disks of a dead machine are read on another.
func (l *Log) recoveryDir(was string) (string, error) {
	own, err := readOwners(l.config.FS, l.config.Dir)
	if err != nil {
		return "", err
	}
	line := own.at(was)
	v := absent
	for _, dir := range []string{was, l.config.FailoverDir} {
		if dir == "" {
			continue
		}
		theirs, err := readOwners(l.config.FS, dir)
		if err != nil {
			return "", err
		}
		if line.id != "" && theirs.has(line.id) {
			return dir, nil
		}
		if dir == was && len(theirs) > 0 {
			v = foreign
		}
	}
	if line.id == "" && v == absent { // the log's own file is gone
		return "", errAbsent(was, "set log.failover_dir to it")
	}
	return "", l.refuse(was, v)
}

// lockFailover takes and locks the second folder. It is not made where records
// may be in one that is not there, for it would be made on another disk.
func (l *Log) lockFailover() (*pebble.Lock, error) {
	dir := l.config.FailoverDir
	if dir == "" {
		return nil, nil
	}
	if _, _, v, err := l.findSecond(dir); err != nil || v == absent {
		return nil, errors.Join(err, l.refuse(dir, v))
	}
	lock, err := lockFolder(l.config.FS, dir)
	if err != nil {
		return nil, fmt.Errorf("log.failover_dir: %w", err)
	}
	if err := l.takeSecond(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}
