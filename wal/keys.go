package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// The keys, in order. Numbers are big-endian.
//
//	0x00 'd'                         how many dead letters there are, and their bytes
//	0x00 'f'                         format of the log
//	0x00 'n'                         identity
//	0x00 'r' lane                    released: sequence
//	0x00 's' lane                    start: first sequence, hash before it, offset
//	0x10+lane sequence               record
//	0x20+lane sequence item+1        dead letter; the item has four bytes
const (
	recordPrefix = 0x10
	deadPrefix   = 0x20
	// formatVersion is what formatKey holds.
	formatVersion = "1"
)

var (
	deadCountKey = []byte{0, 'd'}
	formatKey    = []byte{0, 'f'}
	nodeKey      = []byte{0, 'n'}
)

func releasedKey(lane Lane) []byte { return []byte{0, 'r', byte(lane)} }
func startKey(lane Lane) []byte    { return []byte{0, 's', byte(lane)} }

func appendRecordKey(key []byte, lane Lane, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key, recordPrefix+byte(lane)), seq)
}

func recordKey(lane Lane, seq uint64) []byte {
	return appendRecordKey(make([]byte, 0, recordKeySize), lane, seq)
}

// afterLane is the first key behind all records of the lane.
func afterLane(lane Lane) []byte { return []byte{recordPrefix + byte(lane) + 1} }

const deadKeySize = 1 + 8 + 4

func deadKey(lane Lane, seq uint64, item int) []byte {
	key := make([]byte, 0, deadKeySize)
	key = binary.BigEndian.AppendUint64(append(key, deadPrefix+byte(lane)), seq)
	return binary.BigEndian.AppendUint32(key, uint32(item+1))
}

// spanBits is the size of a span: 65536 sequences.
const spanBits = 16

// spans divides Pebble's tables so that none holds two ranges, nor two spans of
// a lane. Tables then move down the levels without being rewritten, go as a
// whole when their records are trimmed, and the mark that a trim leaves does
// not make a table that reaches from the oldest record to the newest.
func spans(key []byte) (pebble.SpanPolicy, []byte, error) {
	if len(key) == 0 {
		return pebble.SpanPolicy{}, nil, nil
	}
	next := []byte{key[0] + 1}
	if key[0] >= recordPrefix && key[0] < deadPrefix && len(key) == recordKeySize {
		span := binary.BigEndian.Uint64(key[1:])>>spanBits + 1
		if span<<spanBits != 0 {
			next = recordKey(Lane(key[0]-recordPrefix), span<<spanBits)
		}
	}
	return pebble.SpanPolicy{}, next, nil
}

// readKey gives a copy of the value, nil where there is none.
func readKey(db *pebble.DB, key []byte) ([]byte, error) {
	value, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key %x: %w", key, err)
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

func isEmpty(db *pebble.DB) (bool, error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return false, fmt.Errorf("read first key: %w", err)
	}
	empty := !it.First()
	return empty, errors.Join(it.Error(), it.Close())
}
