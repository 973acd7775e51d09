package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
)

// What is kept of deliveries. Times are Unix milliseconds, 0 for none; the cursor
// is the id of a place.
//
//	share     cursor(8) changed(8) dead(8)
//	parked    contact(8) first(8) due(8) attempts(4)
//	dead      as parked, then died(8) reason …
//
// What is known of a delivery stands apart from its event: a receiver that takes a
// share reads the first of all that wait, and the second of few at a time.
const (
	shareLength  = 24
	parkedLength = 28
)

// sharePrefix begins the keys of a tag and a share. No name of an endpoint holds
// a zero byte, so none begins another.
func sharePrefix(tag byte, s store.Share) []byte {
	k := endpointPrefix(tag, s.Endpoint, 2+8)
	return binary.BigEndian.AppendUint16(k, uint16(s.Partition))
}

// endpointPrefix begins the keys of a tag and an endpoint; it has room for more.
func endpointPrefix(tag byte, endpoint string, more int) []byte {
	k := make([]byte, 0, 1+len(endpoint)+1+more)
	return append(append(append(k, tag), endpoint...), 0)
}

// shareEnd is the first key that stands after those of a tag and a share.
func shareEnd(tag byte, s store.Share) []byte {
	s.Partition++ // of which there are fewer than two bytes hold
	return sharePrefix(tag, s)
}

func deliveryKey(tag byte, s store.Share, id uint64) []byte {
	return binary.BigEndian.AppendUint64(sharePrefix(tag, s), id)
}

// parseShare reads the share of a key, and what follows it.
func parseShare(k []byte) (s store.Share, rest []byte, err error) {
	end := bytes.IndexByte(k, 0)
	if end < 1 || len(k) < end+3 {
		return store.Share{}, nil, fmt.Errorf("parse delivery key: %w", errMalformed)
	}
	s = store.Share{Endpoint: string(k[1:end]), Partition: int(binary.BigEndian.Uint16(k[end+1:]))}
	return s, k[end+3:], nil
}

func parseDeliveryKey(k []byte) (s store.Share, id uint64, err error) {
	s, rest, err := parseShare(k)
	if err == nil {
		id, err = parseID(rest)
	}
	return s, id, err
}

func shareValue(cursor, changed uint64, dead int64) []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, shareLength), cursor)
	v = binary.BigEndian.AppendUint64(v, changed)
	return binary.BigEndian.AppendUint64(v, uint64(dead))
}

func appendParked(v []byte, p *store.Parked) []byte {
	v = binary.BigEndian.AppendUint64(v, p.Contact)
	v = binary.BigEndian.AppendUint64(v, millis(p.First))
	v = binary.BigEndian.AppendUint64(v, millis(p.Due))
	return binary.BigEndian.AppendUint32(v, p.Attempts)
}

// parseParked reads what is known of a delivery, and what follows it.
func parseParked(id uint64, v []byte) (p store.Parked, rest []byte, err error) {
	if len(v) < parkedLength {
		return store.Parked{}, nil, fmt.Errorf("parse delivery: %w", errMalformed)
	}
	return store.Parked{
		Place:    placeOf(id),
		Contact:  binary.BigEndian.Uint64(v),
		First:    fromMillis(binary.BigEndian.Uint64(v[8:])),
		Due:      fromMillis(binary.BigEndian.Uint64(v[16:])),
		Attempts: binary.BigEndian.Uint32(v[24:]),
	}, v[parkedLength:], nil
}

func deadValue(d *store.Dead) []byte {
	v := make([]byte, 0, parkedLength+8+len(d.Reason))
	v = binary.BigEndian.AppendUint64(appendParked(v, &d.Parked), millis(d.Died))
	return append(v, d.Reason...)
}

// parseDead reads a dead delivery, without its share and its event.
func parseDead(id uint64, v []byte) (store.Dead, error) {
	p, rest, err := parseParked(id, v)
	if err != nil {
		return store.Dead{}, err
	}
	if len(rest) < 8 {
		return store.Dead{}, fmt.Errorf("parse dead delivery: %w", errMalformed)
	}
	return store.Dead{Parked: p, Died: fromMillis(binary.BigEndian.Uint64(rest)), Reason: string(rest[8:])}, nil
}

// deliveryBatch writes the deliveries of one share. Its first error stays.
type deliveryBatch struct {
	*pebble.Batch
	share store.Share
	err   error
}

func (b *deliveryBatch) set(tag byte, id uint64, v []byte) {
	if b.err == nil {
		b.err = b.Set(deliveryKey(tag, b.share, id), v, nil)
	}
}

func (b *deliveryBatch) setEntry(tag byte, id uint64, entry *store.Entry) {
	if b.err != nil {
		return
	}
	e := &event.Event{UID: entry.UID, Type: entry.Type, Payload: entry.Payload}
	k := deliveryKey(tag, b.share, id)
	op := b.SetDeferred(len(k), entrySize(e, ""))
	copy(op.Key, k)
	putEntry(op.Value, e, "")
	b.err = op.Finish()
}

// drop deletes what is known of a delivery, and its event.
func (b *deliveryBatch) drop(tag, eventTag byte, id uint64) {
	for _, t := range []byte{tag, eventTag} {
		if b.err == nil {
			b.err = b.Delete(deliveryKey(t, b.share, id), nil)
		}
	}
}

// park sets a delivery that waits, without its event.
func (b *deliveryBatch) park(p *store.Parked) {
	b.set(tagParked, idOf(p.Place), appendParked(make([]byte, 0, parkedLength), p))
}

// retried is a dead delivery as it is parked again: due at once, tried afresh.
func retried(d *store.Dead, now time.Time) store.Parked {
	return store.Parked{Place: d.Place, Contact: d.Contact, First: now, Due: now}
}
