package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// Open opens the store in cfg.Dir, or makes it. It refuses a folder that another
// process has open, and one that was made with other partitions. Metrics go to
// reg until Close; reg may be nil.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("store configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	s := &Store{
		cfg:     cfg,
		logger:  logger,
		slots:   make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		closing: make(chan struct{}),
		kick:    make(chan struct{}, 1),
		upkept:  make(chan struct{}),
		fatal:   make(chan struct{}),
	}
	s.metrics = newMetrics()
	if err := s.open(reg); err != nil {
		return nil, fmt.Errorf("open store %s: %w", cfg.Dir, err)
	}
	go s.upkeep()
	return s, nil
}

// open takes what Close gives back; after an error it holds nothing.
func (s *Store) open(reg prometheus.Registerer) error {
	var err error
	if s.lock, err = lockFolder(s.cfg); err != nil {
		return err
	}
	if s.db, err = pebble.Open(s.cfg.Dir, s.options()); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	if err = s.load(); err == nil {
		err = s.metrics.register(s, reg)
	}
	if err != nil {
		return errors.Join(err, s.db.Close(), s.lock.Close())
	}
	return nil
}

// lockFolder makes the folder and locks it.
func lockFolder(cfg Config) (*pebble.Lock, error) {
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	lock, err := pebble.LockDirectory(cfg.Dir, cfg.FS)
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held by current process"):
		return nil, fmt.Errorf("another process has it open: stop that one, or set another data folder: %w", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("the folder cannot be written: %w", err)
	}
	return nil, fmt.Errorf("lock the folder: %w", err)
}

func (s *Store) options() *pebble.Options {
	o := &pebble.Options{
		FS:                          s.cfg.FS,
		Lock:                        s.lock,
		CacheSize:                   s.cfg.CacheBytes,
		MemTableSize:                uint64(s.cfg.MemtableBytes),
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                256,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             512 << 10,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      pebbleLogger{store: s},
		EventListener:               s.events(),
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// events are what Pebble tells of.
func (s *Store) events() *pebble.EventListener {
	e := &pebble.EventListener{BackgroundError: s.backgroundError}
	if stalled := s.cfg.OnStall; stalled != nil {
		e.WriteStallBegin = func(pebble.WriteStallBeginInfo) { stalled(true) }
		e.WriteStallEnd = func() { stalled(false) }
	}
	return e
}

// load reads all that is kept in memory, and reserves the first ids.
func (s *Store) load() error {
	if err := s.checkLayout(); err != nil {
		return err
	}
	if err := s.adoptWindow(); err != nil {
		return err
	}
	days, err := loadDays(s.db)
	if err != nil {
		return err
	}
	s.partitions = make([]*partition, s.cfg.Partitions)
	for i := range s.partitions {
		s.partitions[i] = &partition{
			index:   i,
			seen:    seen{stored: lookup{db: s.db}, days: slices.Clone(days), added: make(map[seenKey]byte)},
			book:    newBook(s.db, s.cfg.Now),
			cursors: make(map[store.Source]store.Cursor),
		}
	}
	if err := s.loadCursors(); err != nil {
		return err
	}
	if err := s.loadPlaces(); err != nil {
		return err
	}
	if err := s.loadShares(); err != nil {
		return err
	}
	for i, p := range s.partitions {
		p.tail.limit = max(tailBytes/len(s.partitions), 4<<10)
		p.tail.reset(s.places.held[i])
	}
	return nil
}

// checkLayout writes the layout of a new store, and compares that of an old one.
func (s *Store) checkLayout() error {
	v, closer, err := s.db.Get(layoutKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return s.writeLayout()
	}
	if err != nil {
		return fmt.Errorf("read layout: %w", err)
	}
	defer func() { _ = closer.Close() }()
	const remedy = "or move the folder away: a new store is then filled from the log"
	switch {
	case len(v) == 0 || v[0] != layoutVersion || len(v) != 3:
		return fmt.Errorf("its format is not %d, the one this program knows: use the program that made it, %s",
			layoutVersion, remedy)
	case int(binary.BigEndian.Uint16(v[1:])) != s.cfg.Partitions:
		return fmt.Errorf("it has %d partitions, and %d are configured: set partitions to %[1]d, %[3]s",
			binary.BigEndian.Uint16(v[1:]), s.cfg.Partitions, remedy)
	}
	return nil
}

// writeLayout makes a new store. Its streams begin at the present: an id of a
// store that was here before is older than what is kept, and so is told apart.
func (s *Store) writeLayout() error {
	begin := idValue(uint64(max(s.cfg.Now().UnixMilli(), 0)) << seqBits)
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }()
	errs := []error{
		batch.Set(layoutKey(), layoutValue(s.cfg.Partitions), nil),
		batch.Set(reservedKey(), begin, nil),
	}
	for i := range s.cfg.Partitions {
		errs = append(errs, batch.Set(partitionKey(tagTrimmed, i), begin, nil))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	if err := s.commitDurably(batch); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	return nil
}

// scan calls f for all keys of a tag.
func (s *Store) scan(tag byte, f func(k, v []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{tag}, UpperBound: []byte{tag + 1}})
	if err != nil {
		return fmt.Errorf("read %c keys: %w", tag, err)
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read %c keys: %w", tag, err)
	}
	return nil
}

func (s *Store) loadCursors() error {
	return s.scan(tagCursor, func(k, v []byte) error {
		partition, source, err := parseCursorKey(k)
		if err != nil {
			return err
		}
		c, err := parseCursorValue(v)
		if err != nil {
			return err
		}
		if partition >= len(s.partitions) {
			return fmt.Errorf("read cursors: partition %d: %w", partition, errMalformed)
		}
		s.partitions[partition].cursors[source] = c
		return nil
	})
}

func (s *Store) loadPlaces() error {
	n := len(s.partitions)
	p := &s.places
	p.now = s.cfg.Now
	p.reserve = func(id uint64) error { return s.setDurably(reservedKey(), idValue(id)) }
	p.held = make([]uint64, n)
	p.blocks = blocks{retain: s.cfg.Retain, retainBytes: s.cfg.RetainBytes, partitions: n, trimmed: make([]uint64, n)}
	err := s.scan(tagBlock, func(k, v []byte) error {
		first, partition, t, err := parseBlock(k, v)
		if err != nil || partition >= n {
			return errors.Join(err, errMalformed)
		}
		p.blocks.load(first, partition, t)
		p.held[partition] = max(p.held[partition], t.last)
		return nil
	})
	if err != nil {
		return err
	}
	err = s.scan(tagTrimmed, func(k, v []byte) error {
		id, err := parseID(v)
		if err != nil || len(k) != 3 || int(binary.BigEndian.Uint16(k[1:])) >= n {
			return fmt.Errorf("read trim marks: %w", errors.Join(err, errMalformed))
		}
		partition := int(binary.BigEndian.Uint16(k[1:]))
		p.blocks.trimmed[partition] = id
		p.held[partition] = max(p.held[partition], id)
		return nil
	})
	if err != nil {
		return err
	}
	if p.last, err = s.readNumber(reservedKey()); err != nil {
		return err
	}
	p.reserved = p.last
	return p.extend(p.last + 1)
}

// readNumber gives a number that is kept under a key of its own, 0 for none.
func (s *Store) readNumber(key []byte) (uint64, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read store: %w", err)
	}
	defer func() { _ = closer.Close() }()
	return parseID(v)
}

// pebbleLogger passes on what Pebble says. Where Pebble can do no more, and
// would answer that all is well if it went on, the call never returns.
type pebbleLogger struct{ store *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.store.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.store.logger.Debug("pebble says", "db", "store", "text", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.store.logger.Warn("pebble complains", "db", "store", "text", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.store.fail(fmt.Errorf(format, args...))
	select {}
}

// backgroundError is told of a flush or compaction that failed. Pebble tries
// again; while it cannot, applying stalls and the log keeps what comes.
func (s *Store) backgroundError(err error) {
	s.metrics.Failed(opUpkeep)
	s.logger.Error("the store cannot write in the background, trying again: look at its disk", "error", err)
}
