package wal

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zeebo/xxh3"
)

// Record is one webhook as it came in.
type Record struct {
	// Seq is its place in its lane, from 1; set on reading.
	Seq uint64
	// Hash is xxh3-64 of the record as it is stored; set on reading. It covers
	// the place in the lane too, so two like webhooks differ.
	Hash uint64
	// Received is when it arrived; nanoseconds are kept, the zone is not.
	Received time.Time
	// App is the name of the app whose secret signed it, at most 255 bytes.
	App string
	// Signature is the HMAC that was sent, raw, at most 255 bytes.
	Signature []byte
	// Body is the webhook, byte for byte.
	Body []byte
}

// MaxRecord is the most a record may take as it is stored, in bytes.
const MaxRecord = 64 << 20

// A record as it is stored, under the key [0x10+lane, sequence]. Numbers are
// big-endian.
//
//	 0        1        2        3                11               19
//	+--------+--------+--------+----------------+----------------+-----+-----------+------+
//	| version| app    | sig.   | received       | offset         | app | signature | body |
//	| 1      | length | length | Unix ns, int64 | uint64         |     |           |      |
//	+--------+--------+--------+----------------+----------------+-----+-----------+------+
//
// The offset is the sum of the sizes, key and value, of all records before it
// in its lane since the first one ever. So the bytes of any range are the
// difference of two offsets, and need no counter that could go wrong.
const (
	recordVersion = 1
	recordHeader  = 19
	recordKeySize = 9
)

// recordSize is the size of the value that r is stored as.
func recordSize(r *Record) int {
	return recordHeader + len(r.App) + len(r.Signature) + len(r.Body)
}

// checkRecord says whether r can be stored at all.
func checkRecord(r *Record) error {
	switch {
	case len(r.App) > 255:
		return fmt.Errorf("%w: app name of %d bytes, 255 allowed", ErrTooLarge, len(r.App))
	case len(r.Signature) > 255:
		return fmt.Errorf("%w: signature of %d bytes, 255 allowed", ErrTooLarge, len(r.Signature))
	case recordSize(r) > MaxRecord:
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, recordSize(r), MaxRecord)
	}
	return nil
}

// putRecord encodes r into value, which has recordSize bytes.
func putRecord(value []byte, r *Record, offset uint64) {
	value[0] = recordVersion
	value[1] = byte(len(r.App))
	value[2] = byte(len(r.Signature))
	binary.BigEndian.PutUint64(value[3:], uint64(r.Received.UnixNano()))
	binary.BigEndian.PutUint64(value[11:], offset)
	rest := value[recordHeader:]
	rest = rest[copy(rest, r.App):]
	rest = rest[copy(rest, r.Signature):]
	copy(rest, r.Body)
}

// header is the part of a record that the log itself works with.
type header struct {
	received int64  // Unix nanoseconds
	offset   uint64 // bytes of the lane before the record
	end      uint64 // bytes of the lane up to and with it
	hash     uint64
}

func parseHeader(value []byte) (header, error) {
	if len(value) < recordHeader || len(value) < recordHeader+int(value[1])+int(value[2]) {
		return header{}, fmt.Errorf("%w: record of %d bytes", ErrCorrupt, len(value))
	}
	if value[0] != recordVersion {
		return header{}, fmt.Errorf("record version %d is not known to this version: use the one that wrote it", value[0])
	}
	offset := binary.BigEndian.Uint64(value[11:])
	return header{
		received: int64(binary.BigEndian.Uint64(value[3:])),
		offset:   offset,
		end:      offset + recordKeySize + uint64(len(value)),
		hash:     xxh3.Hash(value),
	}, nil
}

// parseRecord decodes value; the record's bytes stay those of value. The app
// is taken from last where it is the same, so as not to allocate.
func parseRecord(value []byte, seq uint64, last string) (Record, error) {
	h, err := parseHeader(value)
	if err != nil {
		return Record{}, err
	}
	app := value[recordHeader : recordHeader+int(value[1])]
	if string(app) != last {
		last = string(app)
	}
	rest := value[recordHeader+len(app):]
	n := int(value[2])
	return Record{
		Seq:       seq,
		Hash:      h.hash,
		Received:  time.Unix(0, h.received).UTC(),
		App:       last,
		Signature: rest[:n:n],
		Body:      rest[n:len(rest):len(rest)],
	}, nil
}
