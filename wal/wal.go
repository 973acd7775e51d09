// Package wal is the durable log: what it has taken survives power loss.
//
//	Append ──▶ queue ──▶ committer ──▶ Pebble batch, one sync ──▶ head ──▶ Reader
//	             │           ▲                                     │
//	          ErrFull     janitor ◀──────── Release ◀──────────────┘
//
// A record is a signed webhook as it came in. Two lanes, each with its own
// sequence from 1 without gaps, keep a flood in one from delaying the other.
// Many goroutines append; one committer writes all that wait as one batch with
// one sync, and then moves the published heads. Readers stop at the head: what
// is not known to be on disk is not shown.
//
// The promise: Append returns nil only when the record survives power loss.
//
// The log keeps no cursor. Who reads says by Release which records have done
// their work; those stay for Config.Retain and then go. Records that were not
// released are never deleted. Dead letters are kept in a range of their own.
//
// Where the disk fails the log fails for good: see Config.OnFatal.
//
// What an append costs, beside its sync, is changes of thread: at 64 connections
// on two cores a group of 25 costs about 200 µs of a processor whatever is in it,
// of which the sync's own share is 65 µs. So the committer stands back as long as
// that brings it more requests, see queue.gather: on two cores, with `spillway
// bench ack` and 600-byte webhooks, the rate rose from 0.38 to 0.46 of that of a
// listener without a log at 64 connections, and from 0.64 to 0.79 at 512.
//
// What did not help there: waiting a fixed time for a larger group, or until it is
// as large as the last one (50 to 400 µs at most); applying the next batch while
// one syncs; answering one group only while the next one syncs, which keeps the
// disk busy and makes the groups smaller (10 % slower); more processors for Go
// than there are (GOMAXPROCS 3 and 4 on two). Without any sync the rest would take
// 10 instead of 19 µs a webhook at 64 connections, and 12 to 13 instead of 14 at
// 512. What was not changed: one batch that is used again, values beside their
// keys, one copy of a record.
package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// The errors a caller may want to tell apart.
var (
	// ErrFull: there is no room now; the same Append may succeed later.
	ErrFull = errors.New("log full")
	// ErrClosed: the log was closed, or is closing.
	ErrClosed = errors.New("log closed")
	// ErrFailed: the disk failed. Only a new process can append again.
	ErrFailed = errors.New("log failed")
	// ErrTooLarge: the record can never be kept.
	ErrTooLarge = errors.New("record too large")
	// ErrTrimmed: the record was deleted after its retention.
	ErrTrimmed = errors.New("record trimmed")
	// ErrBeyond: the record is not written yet.
	ErrBeyond = errors.New("record beyond the head of the log")
	// ErrCorrupt: a record that should be there is missing or cannot be read.
	ErrCorrupt = errors.New("log corrupt")
	// ErrReadOnly: the log was opened with OpenReadOnly.
	ErrReadOnly = errors.New("log opened read-only")
	// ErrNotFound: there is no such dead letter.
	ErrNotFound = errors.New("no such dead letter")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("folder in use by another process")
)

// Log is an open log. Its methods may be called from many goroutines.
type Log struct {
	config  Config
	logger  *slog.Logger
	metrics *metrics
	space   *space
	// readOnly: there is no committer and no janitor.
	readOnly bool

	db   *pebble.DB
	lock *pebble.Lock
	// failoverLock is nil without Config.FailoverDir.
	failoverLock *pebble.Lock
	node         atomic.Pointer[string]

	lanes [len(Lanes)]*laneState
	// The dead letters kept, and the bytes of their keys and values.
	deadCount, deadBytes atomic.Int64

	queue    *queue
	requests sync.Pool // of *request

	committer *committer
	janitor   *janitor
	// commitTime is the shorter of the last two commits', in nanoseconds.
	commitTime atomic.Int64
	// committing is when the commit under way began, in Unix nanoseconds, 0 without.
	committing atomic.Int64

	// failed is closed by the first failure, after failure was set.
	failed   chan struct{}
	failure  error
	failOnce sync.Once
	// serving is set when Open has succeeded: until then it is Open that tells
	// of a failure.
	serving atomic.Bool

	// busy counts the reads of db under way. It grows only while closed is
	// false; both are under access.
	access sync.Mutex
	closed bool
	busy   sync.WaitGroup
	// closing is closed when Close begins: readers stop waiting.
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// Open opens the log in config.Dir, and makes it where there is none. It fails
// with ErrLocked where another process has it open.
func Open(config Config, logger *slog.Logger, reg prometheus.Registerer) (*Log, error) {
	l, err := newLog(config, logger)
	if err == nil {
		err = l.open(reg)
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return l, nil
}

func newLog(config Config, logger *slog.Logger) (*Log, error) {
	config, err := config.withDefaults()
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		config:  config,
		logger:  logger,
		queue:   newQueue(),
		failed:  make(chan struct{}),
		closing: make(chan struct{}),
	}
	l.requests.New = func() any { return newRequest() }
	return l, nil
}

func (l *Log) open(reg prometheus.Registerer) (err error) {
	if l.lock, err = lockFolder(l.config.FS, l.config.Dir); err != nil {
		return err
	}
	if l.failoverLock, err = l.lockFailover(); err != nil {
		return errors.Join(err, l.unlock())
	}
	l.space = newSpace(l.config.FS, l.config.Dir, l.config.MinFree, l.logger)
	if l.db, err = l.openPebble(); err != nil {
		return errors.Join(err, l.unlock())
	}
	if err = l.load(); err == nil {
		err = l.freeOthers()
	}
	if err == nil {
		l.metrics, err = newMetrics(reg, l)
	}
	if err != nil {
		return errors.Join(err, l.closePebble(), l.unlock())
	}
	l.committer = startCommitter(l)
	if err = l.identify(); err != nil {
		return errors.Join(err, l.Close())
	}
	l.serving.Store(true)
	l.janitor = startJanitor(l)
	return nil
}

// unlock gives the folder up, unless something may still write to it.
func (l *Log) unlock() error {
	if l.hasFailed() {
		return nil
	}
	err := l.lock.Close()
	if l.failoverLock != nil {
		err = errors.Join(err, l.failoverLock.Close())
	}
	return err
}

// load reads the state of an existing log.
func (l *Log) load() error {
	if err := l.checkFormat(); err != nil {
		return err
	}
	for _, lane := range Lanes {
		state, err := loadLane(l.db, lane)
		if err != nil {
			return fmt.Errorf("load lane %s: %w", lane, err)
		}
		l.lanes[lane] = state
	}
	value, err := readKey(l.db, deadCountKey)
	if err != nil {
		return err
	}
	if len(value) == deadCountSize {
		count, bytes := decodeDeadCount(value)
		l.deadCount.Store(count)
		l.deadBytes.Store(bytes)
	}
	for _, lane := range Lanes {
		if err := l.refreshLane(lane); err != nil {
			return err
		}
	}
	return nil
}

// checkFormat reads format and identity; a folder with neither has to be empty.
func (l *Log) checkFormat() error {
	format, err := readKey(l.db, formatKey)
	if err != nil {
		return err
	}
	if format == nil {
		empty, err := isEmpty(l.db)
		if err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("%w: %s holds data but no log format", ErrCorrupt, l.config.Dir)
		}
		return nil
	}
	if string(format) != formatVersion {
		return fmt.Errorf("log format %q in %s is not known to this version, which reads format %s: use the version that wrote it",
			format, l.config.Dir, formatVersion)
	}
	node, err := readKey(l.db, nodeKey)
	if err != nil {
		return err
	}
	id, err := uuid.ParseBytes(node)
	if err != nil {
		return fmt.Errorf("%w: identity: %w", ErrCorrupt, err)
	}
	l.setNode(id)
	return nil
}

// identify gives a new log its identity.
func (l *Log) identify() error {
	if l.node.Load() != nil {
		return nil
	}
	_, err := l.renew()
	return err
}

func (l *Log) setNode(id uuid.UUID) {
	node := id.String()
	l.node.Store(&node)
}

// Node is the log's identity, a UUID made with it.
func (l *Log) Node() string { return *l.node.Load() }

// Renew gives the log a new identity and returns it once it is on disk. The
// sequences go on, and no record kept counts as released any more. It is for a
// log that is not the one a store knows: it lost its tail, was restored from a
// snapshot, or is a clone. Release must not be called meanwhile.
func (l *Log) Renew() (string, error) {
	if l.readOnly {
		return "", ErrReadOnly
	}
	// The janitor must not trim, nor write down, by releases that end here.
	l.janitor.mu.Lock()
	defer l.janitor.mu.Unlock()
	return l.renew()
}

func (l *Log) renew() (string, error) {
	id := uuid.New()
	var released [len(Lanes)]uint64
	err := l.do(func(batch *pebble.Batch) error {
		errs := []error{batch.Set(formatKey, []byte(formatVersion), nil), batch.Set(nodeKey, []byte(id.String()), nil)}
		for _, lane := range Lanes {
			released[lane] = l.First(lane) - 1
			errs = append(errs, batch.Set(releasedKey(lane), binary.BigEndian.AppendUint64(nil, released[lane]), nil))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return "", fmt.Errorf("renew identity: %w", err)
	}
	for _, lane := range Lanes {
		l.lanes[lane].released.Store(released[lane])
	}
	l.setNode(id)
	return id.String(), nil
}

// First is the first record kept: 1 in a new log, Head+1 where all are gone.
func (l *Log) First(lane Lane) uint64 { return l.lanes[lane].start().first }

// Head is the last record published, 0 where there never was one.
func (l *Log) Head(lane Lane) uint64 { return l.lanes[lane].head.Load() }

// Ready is nil where Append would be tried, else the error it would give.
func (l *Log) Ready() error {
	if _, err := l.admit(); err != nil {
		return err
	}
	if l.queue.isClosed() {
		return ErrClosed
	}
	return nil
}

// keptBytes is what the records of both lanes take, keys included.
func (l *Log) keptBytes() int64 {
	var sum int64
	for _, state := range l.lanes {
		sum += state.kept()
	}
	return sum
}

// unreleasedBytes is the part of keptBytes that must not go.
func (l *Log) unreleasedBytes() int64 {
	var sum int64
	for _, state := range l.lanes {
		sum += state.unreleased()
	}
	return sum
}

// maxSequence bounds a range of sequences from above.
const maxSequence = math.MaxUint64
