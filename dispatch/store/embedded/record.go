package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"spillway/dispatch/store"
	"spillway/dispatch/store/contacts"
)

// A contact is kept under K uuid. Each of its ids names it, by an owner under I
// waba 00 id, which is uuid(16) birth.
//
//	version(1) updated(8) touched(8) WABA WaID UserID Name Username Birth
//	count(uvarint) ids …
//
// updated and touched are Unix milliseconds, 0 for none; a string is its length
// as uvarint and its bytes.
const recordVersion = 1

func millis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

func fromMillis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func appendRecord(v []byte, r *contacts.Record) []byte {
	v = append(v, recordVersion)
	v = binary.BigEndian.AppendUint64(v, millis(r.Updated))
	v = binary.BigEndian.AppendUint64(v, millis(r.Touched))
	for _, s := range []string{r.WABA, r.WaID, r.UserID, r.Name, r.Username, r.Birth} {
		v = appendString(v, s)
	}
	v = binary.AppendUvarint(v, uint64(len(r.IDs)))
	for _, id := range r.IDs {
		v = appendString(v, id)
	}
	return v
}

func appendString(v []byte, s string) []byte {
	return append(binary.AppendUvarint(v, uint64(len(s))), s...)
}

// reader takes a value apart; once it runs short it is bad and gives zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// length reads a uvarint that counts things of at least one byte.
func (r *reader) length() uint64 {
	n, used := binary.Uvarint(r.rest)
	if r.bad || used <= 0 || n > uint64(len(r.rest)) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[used:]
	return n
}

func (r *reader) string() string { return string(r.take(r.length())) }

func parseRecord(id uuid.UUID, v []byte) (*contacts.Record, error) {
	if len(v) == 0 || v[0] != recordVersion {
		return nil, fmt.Errorf("parse contact: %w", errMalformed)
	}
	in := reader{rest: v[1:]}
	r := &contacts.Record{Contact: store.Contact{ID: id, Updated: fromMillis(in.uint64())}, Touched: fromMillis(in.uint64())}
	for _, s := range []*string{&r.WABA, &r.WaID, &r.UserID, &r.Name, &r.Username, &r.Birth} {
		*s = in.string()
	}
	for range in.length() {
		r.IDs = append(r.IDs, in.string())
	}
	if in.bad || len(in.rest) > 0 {
		return nil, fmt.Errorf("parse contact: %w", errMalformed)
	}
	return r, nil
}

func recordKey(id uuid.UUID) []byte { return append([]byte{tagRecord}, id[:]...) }

// source reads contacts from the database.
type source struct{ db *pebble.DB }

func newBook(db *pebble.DB, now func() time.Time) *contacts.Book {
	return contacts.NewBook(source{db}, now)
}

// Owner gives the contact that the id belongs to, nil for none.
func (s source) Owner(waba, id string) (*contacts.Owner, error) {
	v, closer, err := s.db.Get(ownerKey(waba, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contact owner: %w", err)
	}
	defer func() { _ = closer.Close() }()
	return parseOwner(v)
}

// Record gives a contact, nil where there is none.
func (s source) Record(id uuid.UUID) (*contacts.Record, error) {
	v, closer, err := s.db.Get(recordKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	defer func() { _ = closer.Close() }()
	return parseRecord(id, v)
}

func parseOwner(v []byte) (*contacts.Owner, error) {
	if len(v) < 16 {
		return nil, fmt.Errorf("read contact owner: %w", errMalformed)
	}
	return &contacts.Owner{Contact: uuid.UUID(v[:16]), Birth: string(v[16:])}, nil
}

// writeBook puts what a book has changed into the batch. Who changes anything
// holds the store's contacts mutex from the first read to the commit.
func writeBook(b *contacts.Book, batch *pebble.Batch) error {
	return b.Changes(func(waba, id string, o *contacts.Owner) (err error) {
		if o == nil {
			err = batch.Delete(ownerKey(waba, id), nil)
		} else {
			err = batch.Set(ownerKey(waba, id), append(o.Contact[:], o.Birth...), nil)
		}
		if err != nil {
			return fmt.Errorf("write contact owner: %w", err)
		}
		return nil
	}, func(id uuid.UUID, r *contacts.Record) (err error) {
		if r == nil {
			err = batch.Delete(recordKey(id), nil)
		} else {
			err = batch.Set(recordKey(id), appendRecord(nil, r), nil)
		}
		if err != nil {
			return fmt.Errorf("write contact: %w", err)
		}
		return nil
	})
}
