package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/uuid"

	"spillway/dispatch/store"
)

// record is a contact as it is kept, under K uuid. Each of its ids names it, by
// an owner under I waba 00 id.
//
//	version(1) updated(8) touched(8) WABA WaID UserID Name Username Birth
//	count(uvarint) ids …
//
// updated and touched are Unix milliseconds, 0 for none; a string is its length
// as uvarint and its bytes.
type record struct {
	store.Contact
	// touched is when a message of the contact was last claimed or applied, by
	// the store's clock: what its time to live counts from.
	touched time.Time
	// ids are all it is known under, or was before it was merged.
	ids []string
}

// owner is the contact an id belongs to: uuid(16) birth.
type owner struct {
	contact uuid.UUID
	birth   string
}

const recordVersion = 1

func (r *record) addID(id string) {
	if !slices.Contains(r.ids, id) {
		r.ids = append(r.ids, id)
	}
}

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

func (r *record) append(v []byte) []byte {
	v = append(v, recordVersion)
	v = binary.BigEndian.AppendUint64(v, millis(r.Updated))
	v = binary.BigEndian.AppendUint64(v, millis(r.touched))
	for _, s := range []string{r.WABA, r.WaID, r.UserID, r.Name, r.Username, r.Birth} {
		v = appendString(v, s)
	}
	v = binary.AppendUvarint(v, uint64(len(r.ids)))
	for _, id := range r.ids {
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

func parseRecord(id uuid.UUID, v []byte) (*record, error) {
	if len(v) == 0 || v[0] != recordVersion {
		return nil, fmt.Errorf("parse contact: %w", errMalformed)
	}
	in := reader{rest: v[1:]}
	r := &record{Contact: store.Contact{ID: id, Updated: fromMillis(in.uint64())}, touched: fromMillis(in.uint64())}
	for _, s := range []*string{&r.WABA, &r.WaID, &r.UserID, &r.Name, &r.Username, &r.Birth} {
		*s = in.string()
	}
	for range in.length() {
		r.ids = append(r.ids, in.string())
	}
	if in.bad || len(in.rest) > 0 {
		return nil, fmt.Errorf("parse contact: %w", errMalformed)
	}
	return r, nil
}

func recordKey(id uuid.UUID) []byte { return append([]byte{tagRecord}, id[:]...) }

// book reads contacts, keeps what is changed, and writes it all into one batch.
// It sees its own changes. Who changes anything holds the store's contacts mutex
// from the first read to the commit.
type book struct {
	db      *pebble.DB
	owners  map[string]*owner // by key; nil: none, or deleted
	records map[uuid.UUID]*record
	dirty   map[string]struct{}
	touched map[uuid.UUID]struct{}
}

func newBook(db *pebble.DB) *book {
	return &book{
		db:      db,
		owners:  make(map[string]*owner),
		records: make(map[uuid.UUID]*record),
		dirty:   make(map[string]struct{}),
		touched: make(map[uuid.UUID]struct{}),
	}
}

// clear makes the book as new.
func (b *book) clear() {
	clear(b.owners)
	clear(b.records)
	clear(b.dirty)
	clear(b.touched)
}

// changed reports whether there is anything to write.
func (b *book) changed() bool { return len(b.dirty)+len(b.touched) > 0 }

// owner gives the contact that the id belongs to, nil for none or no id.
func (b *book) owner(waba, id string) (*owner, error) {
	if id == "" {
		return nil, nil
	}
	k := ownerKey(waba, id)
	if o, ok := b.owners[string(k)]; ok {
		return o, nil
	}
	o, err := readOwner(b.db, k)
	if err != nil {
		return nil, err
	}
	b.owners[string(k)] = o
	return o, nil
}

func readOwner(db *pebble.DB, k []byte) (*owner, error) {
	v, closer, err := db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contact owner: %w", err)
	}
	defer func() { _ = closer.Close() }()
	return parseOwner(v)
}

func parseOwner(v []byte) (*owner, error) {
	if len(v) < 16 {
		return nil, fmt.Errorf("read contact owner: %w", errMalformed)
	}
	return &owner{contact: uuid.UUID(v[:16]), birth: string(v[16:])}, nil
}

// setOwner gives an id to a record.
func (b *book) setOwner(id string, r *record) {
	r.addID(id)
	k := string(ownerKey(r.WABA, id))
	b.owners[k] = &owner{contact: r.ID, birth: r.Birth}
	b.dirty[k] = struct{}{}
	b.touched[r.ID] = struct{}{}
}

// record gives a contact, nil where there is none. It may be changed: call save.
func (b *book) record(id uuid.UUID) (*record, error) {
	if r, ok := b.records[id]; ok {
		return r, nil
	}
	v, closer, err := b.db.Get(recordKey(id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contact: %w", err)
	}
	defer func() { _ = closer.Close() }()
	r, err := parseRecord(id, v)
	if err != nil {
		return nil, err
	}
	b.records[id] = r
	return r, nil
}

// save keeps a record as it is now.
func (b *book) save(r *record) {
	b.records[r.ID] = r
	b.touched[r.ID] = struct{}{}
}

// remove deletes a record, and with it the ids that still name it.
func (b *book) remove(r *record) error {
	for _, id := range r.ids {
		o, err := b.owner(r.WABA, id)
		if err != nil {
			return err
		}
		if o != nil && o.contact == r.ID {
			k := string(ownerKey(r.WABA, id))
			b.owners[k] = nil
			b.dirty[k] = struct{}{}
		}
	}
	b.records[r.ID] = nil
	b.touched[r.ID] = struct{}{}
	return nil
}

// write puts all changes into the batch.
func (b *book) write(batch *pebble.Batch) error {
	for k := range b.dirty {
		var err error
		if o := b.owners[k]; o == nil {
			err = batch.Delete([]byte(k), nil)
		} else {
			err = batch.Set([]byte(k), append(o.contact[:], o.birth...), nil)
		}
		if err != nil {
			return fmt.Errorf("write contact owner: %w", err)
		}
	}
	for id := range b.touched {
		var err error
		if r := b.records[id]; r == nil {
			err = batch.Delete(recordKey(id), nil)
		} else {
			err = batch.Set(recordKey(id), r.append(nil), nil)
		}
		if err != nil {
			return fmt.Errorf("write contact: %w", err)
		}
	}
	return nil
}
