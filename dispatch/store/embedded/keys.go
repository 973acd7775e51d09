package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"

	"spillway/dispatch/store"
)

// All keys of the store, by their first byte. Numbers are big-endian. Those of
// deliveries came later than the others: a store without them is one that never
// delivered, and a program that does not know them leaves them alone.
//
//	A endpoint                       state of an endpoint: JSON
//	B first(8) partition(2)          block counts: count(8) bytes(8) last(8)
//	C partition(2) lane 00 node      cursor: seq(8) hash(8)
//	D endpoint 00 partition(2)       share of deliveries: see delivery_format.go
//	E block(8) partition(2) id(8)    event, in the block it is counted in: see entry.go
//	I waba 00 id                     contact an id belongs to: uuid(16) birth
//	K uuid(16)                       contact record: see record.go
//	L                                layout: version(1) partitions(2)
//	N endpoint 00 partition(2) id(8) dead delivery, without its event
//	O endpoint 00 partition(2) id(8) event of a dead delivery, as under E
//	P endpoint 00 partition(2) id(8) parked delivery, without its event
//	Q endpoint 00 partition(2) id(8) event of a parked delivery, as under E
//	R                                highest reserved id(8)
//	S day(2) hash(16)                seen: mask(1), see seen.go
//	T partition(2)                   last trimmed id(8)
//	W                                window(8), in nanoseconds: see window.go
const (
	tagState       = 'A'
	tagBlock       = 'B'
	tagCursor      = 'C'
	tagShare       = 'D'
	tagEvent       = 'E'
	tagOwner       = 'I'
	tagRecord      = 'K'
	tagLayout      = 'L'
	tagDead        = 'N'
	tagDeadEvent   = 'O'
	tagParked      = 'P'
	tagParkedEvent = 'Q'
	tagReserved    = 'R'
	tagSeen        = 'S'
	tagTrimmed     = 'T'
	tagWindow      = 'W'
)

const layoutVersion = 2

var errMalformed = errors.New("malformed value")

func layoutKey() []byte   { return []byte{tagLayout} }
func reservedKey() []byte { return []byte{tagReserved} }
func windowKey() []byte   { return []byte{tagWindow} }

func layoutValue(partitions int) []byte {
	return binary.BigEndian.AppendUint16([]byte{layoutVersion}, uint16(partitions))
}

func partitionKey(tag byte, partition int) []byte {
	return binary.BigEndian.AppendUint16([]byte{tag}, uint16(partition))
}

// Blocks come before partitions, so that new events stand behind all older ones:
// Pebble then need not merge them again and again, and drops old ones by the file.
const eventKeyLength = 1 + 8 + 2 + 8

func putEventKey(k []byte, block uint64, partition int, id uint64) {
	k[0] = tagEvent
	binary.BigEndian.PutUint64(k[1:], block)
	binary.BigEndian.PutUint16(k[9:], uint16(partition))
	binary.BigEndian.PutUint64(k[11:], id)
}

func eventKey(block uint64, partition int, id uint64) []byte {
	k := make([]byte, eventKeyLength)
	putEventKey(k, block, partition, id)
	return k
}

func parseEventKey(k []byte) (partition int, id uint64, err error) {
	if len(k) != eventKeyLength {
		return 0, 0, fmt.Errorf("parse event key: %w", errMalformed)
	}
	return int(binary.BigEndian.Uint16(k[9:])), binary.BigEndian.Uint64(k[11:]), nil
}

func cursorKey(partition int, source store.Source) []byte {
	k := append(partitionKey(tagCursor, partition), source.Lane...)
	return append(append(k, 0), source.Node...)
}

func parseCursorKey(k []byte) (partition int, source store.Source, err error) {
	if len(k) < 4 {
		return 0, store.Source{}, fmt.Errorf("parse cursor key: %w", errMalformed)
	}
	name := k[3:]
	for i, c := range name {
		if c == 0 {
			source = store.Source{Lane: string(name[:i]), Node: string(name[i+1:])}
			return int(binary.BigEndian.Uint16(k[1:])), source, nil
		}
	}
	return 0, store.Source{}, fmt.Errorf("parse cursor key: %w", errMalformed)
}

func cursorValue(c store.Cursor) []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 16), c.Seq)
	return binary.BigEndian.AppendUint64(v, c.Hash)
}

func parseCursorValue(v []byte) (store.Cursor, error) {
	if len(v) != 16 {
		return store.Cursor{}, fmt.Errorf("parse cursor: %w", errMalformed)
	}
	return store.Cursor{Seq: binary.BigEndian.Uint64(v), Hash: binary.BigEndian.Uint64(v[8:])}, nil
}

func parseID(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("parse id: %w", errMalformed)
	}
	return binary.BigEndian.Uint64(v), nil
}

func idValue(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// ownerKey is where it stands which contact an id belongs to. A WABA holds no
// zero byte that could make two keys one: one that does is cut there.
func ownerKey(waba, id string) []byte {
	k := make([]byte, 0, 2+len(waba)+len(id))
	k = append(k, tagOwner)
	for i := range len(waba) {
		if waba[i] == 0 {
			break
		}
		k = append(k, waba[i])
	}
	return append(append(k, 0), id...)
}

func blockKey(first uint64, partition int) []byte {
	k := binary.BigEndian.AppendUint64([]byte{tagBlock}, first)
	return binary.BigEndian.AppendUint16(k, uint16(partition))
}

func blockValue(t tally) []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(t.count))
	v = binary.BigEndian.AppendUint64(v, uint64(t.bytes))
	return binary.BigEndian.AppendUint64(v, t.last)
}

func parseBlock(k, v []byte) (first uint64, partition int, t tally, err error) {
	if len(k) != 11 || len(v) != 24 {
		return 0, 0, tally{}, fmt.Errorf("parse block counts: %w", errMalformed)
	}
	t = tally{
		count: int64(binary.BigEndian.Uint64(v)),
		bytes: int64(binary.BigEndian.Uint64(v[8:])),
		last:  binary.BigEndian.Uint64(v[16:]),
	}
	return binary.BigEndian.Uint64(k[1:]), int(binary.BigEndian.Uint16(k[9:])), t, nil
}
