package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// An event in a stream, under E partition id:
//
//	┌─────────┬────────────────┬──────────┬───────────────┐
//	│ uid(16) │ length(uvarint)│ type     │ payload …     │
//	└─────────┴────────────────┴──────────┴───────────────┘
//
// A stale status is kept with `,"stale":true` at the end of its payload, an event
// of a forced replay with `,"replayed":true`.

// The marks, with the brace that they stand before.
const (
	staleMark    = `,"stale":true}`
	replayedMark = `,"replayed":true}`
)

// marked is the mark where the payload, an object, can take it.
func marked(e *event.Event, mark string) string {
	if !bytes.HasSuffix(e.Payload, []byte{'}'}) {
		return ""
	}
	return mark
}

// entrySize is the length of the value of an event with a mark, or with none.
func entrySize(e *event.Event, mark string) int {
	n := len(e.UID) + uvarintLength(len(e.Type)) + len(e.Type) + len(e.Payload)
	if mark != "" {
		n += len(mark) - 1
	}
	return n
}

// putEntry fills v, entrySize long. It returns the part that is the payload.
func putEntry(v []byte, e *event.Event, mark string) (payload []byte) {
	n := copy(v, e.UID[:])
	n += binary.PutUvarint(v[n:], uint64(len(e.Type)))
	n += copy(v[n:], e.Type)
	payload = v[n:]
	if mark != "" {
		end := copy(payload, e.Payload[:len(e.Payload)-1])
		copy(payload[end:], mark)
		return payload
	}
	copy(payload, e.Payload)
	return payload
}

func uvarintLength(n int) int {
	length := 1
	for ; n >= 0x80; n >>= 7 {
		length++
	}
	return length
}

// parseEntry reads what putEntry wrote. The payload is a part of v.
func parseEntry(id uint64, v []byte) (store.Entry, error) {
	if len(v) < 17 {
		return store.Entry{}, fmt.Errorf("parse event: %w", errMalformed)
	}
	length, n := binary.Uvarint(v[16:])
	rest := v[min(16+max(n, 0), len(v)):]
	if n <= 0 || length > uint64(len(rest)) {
		return store.Entry{}, fmt.Errorf("parse event: %w", errMalformed)
	}
	return store.Entry{
		Place:   placeOf(id),
		UID:     uuid.UUID(v[:16]),
		Type:    typeName(rest[:length]),
		Payload: rest[length:],
	}, nil
}

// typeName spares the common types an allocation.
func typeName(b []byte) string {
	switch string(b) {
	case event.MessageStatus:
		return event.MessageStatus
	case event.MessageNew:
		return event.MessageNew
	case event.ContactNew:
		return event.ContactNew
	case event.ContactUpdated:
		return event.ContactUpdated
	}
	return string(b)
}
