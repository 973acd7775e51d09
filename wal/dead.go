package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// WholeRecord is the Item of a dead letter that is a record as a whole.
const WholeRecord = -1

// DeadLetter is what could not be turned into an event: a copy of the record,
// with the place in it and the reason. Lane, Seq and Item name it.
type DeadLetter struct {
	Lane Lane
	Seq  uint64
	// Item numbers the items of a record, from 0; or it is WholeRecord.
	Item     int
	Received time.Time
	App      string
	// Path is the item's place, as in entry[0].changes[1].value.messages[3].
	Path string
	// Reason is why, in words; of both no more than 65535 bytes are kept.
	Reason string
	// Signature and Body are the whole record's, as they came in.
	Signature, Body []byte
}

// A dead letter as it is stored; its key has lane, sequence and item. Numbers
// are big-endian.
//
//	 0        1        2        3         5         7                15
//	+--------+--------+--------+---------+---------+----------------+-----+-----------+------+--------+------+
//	| version| app    | sig.   | path    | reason  | received       | app | signature | path | reason | body |
//	| 1      | length | length | length  | length  | Unix ns, int64 |     |           |      |        |      |
//	+--------+--------+--------+---------+---------+----------------+-----+-----------+------+--------+------+
const (
	deadVersion   = 1
	deadHeader    = 15
	deadCountSize = 16
	// deadStep bounds the dead letters deleted in one batch, groupBytes their bytes.
	deadStep = 1000
)

func (d *DeadLetter) check() error {
	switch {
	case d.Item < WholeRecord || d.Item >= math.MaxUint32:
		return fmt.Errorf("item %d of a dead letter is out of range", d.Item)
	case len(d.App) > 255, len(d.Signature) > 255, len(d.Body) > MaxRecord:
		return fmt.Errorf("%w: dead letter of record %d", ErrTooLarge, d.Seq)
	}
	return nil
}

func (d *DeadLetter) encode() []byte {
	path := d.Path[:min(len(d.Path), math.MaxUint16)]
	reason := d.Reason[:min(len(d.Reason), math.MaxUint16)]
	b := make([]byte, 0, deadHeader+len(d.App)+len(d.Signature)+len(path)+len(reason)+len(d.Body))
	b = append(b, deadVersion, byte(len(d.App)), byte(len(d.Signature)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(path)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = binary.BigEndian.AppendUint64(b, uint64(d.Received.UnixNano()))
	b = append(append(b, d.App...), d.Signature...)
	b = append(append(b, path...), reason...)
	return append(b, d.Body...)
}

// parseDead decodes what encode made; its bytes are those of value.
func parseDead(key, value []byte) (DeadLetter, error) {
	if len(key) != deadKeySize || len(value) < deadHeader {
		return DeadLetter{}, fmt.Errorf("%w: dead letter of %d bytes", ErrCorrupt, len(value))
	}
	if value[0] != deadVersion {
		return DeadLetter{}, fmt.Errorf("dead letter version %d is not known to this version", value[0])
	}
	app, signature := int(value[1]), int(value[2])
	path, reason := int(binary.BigEndian.Uint16(value[3:])), int(binary.BigEndian.Uint16(value[5:]))
	if len(value) < deadHeader+app+signature+path+reason {
		return DeadLetter{}, fmt.Errorf("%w: dead letter of %d bytes", ErrCorrupt, len(value))
	}
	rest := value[deadHeader:]
	cut := func(n int) []byte {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	return DeadLetter{
		Lane:      Lane(key[0] - deadPrefix),
		Seq:       binary.BigEndian.Uint64(key[1:]),
		Item:      int(binary.BigEndian.Uint32(key[9:])) - 1,
		Received:  deadReceived(value),
		App:       string(cut(app)),
		Signature: cut(signature),
		Path:      string(cut(path)),
		Reason:    string(cut(reason)),
		Body:      rest,
	}, nil
}

func deadReceived(value []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(value[7:]))).UTC()
}

// Bury keeps dead letters, all or none, and returns nil only when they survive
// power loss. One that is kept already is replaced; added is how many were not.
// It is tried even where Append would give ErrFull, so that dispatching goes on.
func (l *Log) Bury(letters ...DeadLetter) (added int, err error) {
	values := make([][]byte, len(letters))
	keys := make([][]byte, len(letters))
	for i := range letters {
		d := &letters[i]
		if err := d.check(); err != nil {
			return 0, fmt.Errorf("bury: %w", err)
		}
		keys[i], values[i] = deadKey(d.Lane, d.Seq, d.Item), d.encode()
	}
	fresh := 0 // the committer's, until it has answered
	err = l.do(func(batch *pebble.Batch) error {
		for i, key := range keys {
			isNew, err := l.committer.bury(batch, key, values[i])
			if err != nil {
				return err
			}
			if isNew {
				fresh++
			}
		}
		return l.putDeadCount(batch)
	})
	if err != nil {
		return 0, fmt.Errorf("bury: %w", err)
	}
	return fresh, nil
}

// bury puts a dead letter into the batch and counts it where it is new.
func (c *committer) bury(batch *pebble.Batch, key, value []byte) (isNew bool, err error) {
	known, ok := c.buried[string(key)]
	if !ok {
		old, err := readKey(c.log.db, key)
		if err != nil {
			return false, err
		}
		known = len(old)
	}
	if known == 0 {
		c.log.deadCount.Add(1)
		c.log.deadBytes.Add(int64(len(key)))
	}
	c.log.deadBytes.Add(int64(len(value) - known))
	c.buried[string(key)] = len(value)
	return known == 0, batch.Set(key, value, nil)
}

// putDeadCount writes the count with what changed it. Only the committer calls it.
func (l *Log) putDeadCount(batch *pebble.Batch) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, deadCountSize), uint64(l.deadCount.Load()))
	return batch.Set(deadCountKey, binary.BigEndian.AppendUint64(b, uint64(l.deadBytes.Load())), nil)
}

func decodeDeadCount(b []byte) (count, bytes int64) {
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
}

// Dead calls fn with each dead letter, by lane, sequence and item, until fn
// returns an error, which it returns. The letter's bytes are valid until fn
// returns. Close waits for Dead.
func (l *Log) Dead(fn func(DeadLetter) error) error {
	return l.eachDead([]byte{deadPrefix}, []byte{deadPrefix + byte(len(Lanes))}, fn)
}

// DeadAfter is Dead for the letters that stand behind one, kept or not.
func (l *Log) DeadAfter(lane Lane, seq uint64, item int, fn func(DeadLetter) error) error {
	return l.eachDead(append(deadKey(lane, seq, item), 0), []byte{deadPrefix + byte(len(Lanes))}, fn)
}

// DeadOf is Dead for the dead letters of one record.
func (l *Log) DeadOf(lane Lane, seq uint64, fn func(DeadLetter) error) error {
	return l.eachDead(deadKey(lane, seq, WholeRecord), append(deadKey(lane, seq, math.MaxUint32-1), 0), fn)
}

func (l *Log) eachDead(lower, upper []byte, fn func(DeadLetter) error) error {
	return l.walkDead(lower, upper, func(key, value []byte) error {
		d, err := parseDead(key, value)
		if err != nil {
			return fmt.Errorf("read dead letter: %w", err)
		}
		return fn(d)
	})
}

// walkDead calls fn with keys and values of a range until it returns an error.
func (l *Log) walkDead(lower, upper []byte, fn func(key, value []byte) error) (err error) {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if err := fn(it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}

// DeadLetter gives one dead letter; its bytes are the caller's. ErrNotFound where
// it is not kept.
func (l *Log) DeadLetter(lane Lane, seq uint64, item int) (DeadLetter, error) {
	if err := l.enter(); err != nil {
		return DeadLetter{}, err
	}
	defer l.leave()
	key := deadKey(lane, seq, item)
	value, err := readKey(l.db, key)
	if err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	if value == nil {
		return DeadLetter{}, fmt.Errorf("%w: %s record %d, item %d", ErrNotFound, lane, seq, item)
	}
	return parseDead(key, value)
}

// Unbury removes dead letters by Lane, Seq and Item, and returns nil only when
// that survives power loss. What is not kept is no error.
func (l *Log) Unbury(letters ...DeadLetter) error {
	keys := make([][]byte, len(letters))
	for i := range letters {
		keys[i] = deadKey(letters[i].Lane, letters[i].Seq, letters[i].Item)
	}
	if err := l.removeDead(keys); err != nil {
		return fmt.Errorf("remove dead letters: %w", err)
	}
	return nil
}

// removeDead removes the dead letters that are still there.
func (l *Log) removeDead(keys [][]byte) error {
	return l.do(func(batch *pebble.Batch) error {
		for _, key := range keys {
			if err := l.committer.unbury(batch, key); err != nil {
				return err
			}
		}
		return l.putDeadCount(batch)
	})
}

// unbury removes a dead letter with the batch, and from the count.
func (c *committer) unbury(batch *pebble.Batch, key []byte) error {
	size, ok := c.buried[string(key)]
	if !ok {
		value, err := readKey(c.log.db, key)
		if err != nil {
			return err
		}
		size = len(value)
	}
	if size == 0 {
		return nil
	}
	c.log.deadCount.Add(-1)
	c.log.deadBytes.Add(-int64(len(key) + size))
	c.buried[string(key)] = 0
	return batch.Delete(key, nil)
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// trimDead deletes the dead letters of records received before cutoff, in steps.
func (l *Log) trimDead(cutoff int64) error {
	for _, lane := range Lanes {
		for {
			keys, err := l.oldDead(lane, cutoff)
			if err == nil && len(keys) == 0 {
				break
			}
			if err == nil {
				err = l.removeDead(keys)
			}
			if err != nil {
				return fmt.Errorf("trim dead letters: %w", err)
			}
		}
	}
	return nil
}

// oldDead gives the keys of the oldest dead letters of a lane, one step of them,
// for the committer reads each again. They stand in the order of their records,
// so that the first that is young enough ends the search.
func (l *Log) oldDead(lane Lane, cutoff int64) (keys [][]byte, err error) {
	lower, bytes := []byte{deadPrefix + byte(lane)}, 0
	err = l.walkDead(lower, []byte{lower[0] + 1}, func(key, value []byte) error {
		if len(keys) == deadStep || bytes > groupBytes || len(value) < deadHeader || deadReceived(value).UnixNano() >= cutoff {
			return errEnough
		}
		keys = append(keys, append([]byte{}, key...))
		bytes += len(value)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return keys, err
}
