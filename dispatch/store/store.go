// Package store says what a store is: the place where an event takes effect
// once, and from where it is streamed.
//
//	dispatch ──Claim, Apply──▶ Store ──Follow, Read──▶ stream
//
// The cursor of the log lives with the effects: one Apply compares the cursor,
// drops what was seen, updates contacts, appends to the event stream and moves
// the cursor, all or nothing. So a lost reply, a second run, or a store that
// came back older than it was are told apart by the cursor alone.
//
// A store is divided into partitions by event.Partition. Each has an event
// stream of its own, and its own cursor for each source. Implementations live
// in packages below this one and pass the suite in storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
)

// ErrNoContact is returned where a contact is asked for that is not known.
var ErrNoContact = errors.New("contact not known")

// ErrWentBack is what Follow returns where a partition's stream ends before what
// was emitted of it: the store lost a suffix.
var ErrWentBack = errors.New("the event stream went back")

// Source names what is drained into a store: one lane of one log.
type Source struct {
	// Node is the log's identity.
	Node string
	// Lane is "express" or "bulk".
	Lane string
}

// Cursor is the last record a partition has covered: its sequence and its hash,
// so that it cannot be mistaken for a record of another log. The zero Cursor
// means none.
type Cursor struct {
	Seq  uint64
	Hash uint64
}

// IsZero reports whether there is no cursor.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String is the stored form, SEQ:HASH, the hash in 16 hex digits.
func (c Cursor) String() string { return fmt.Sprintf("%d:%016x", c.Seq, c.Hash) }

// Mode says what a batch does besides its events.
type Mode uint8

const (
	// Advance is the way of the drained log: the cursor is compared and moved.
	Advance Mode = iota
	// Again applies records that were applied before, and leaves the cursor alone:
	// what the store has is a duplicate, what it lost is fresh. Source, From and To
	// are not used.
	Again
	// Forced appends every event, with "replayed":true at the end of its payload,
	// and leaves all else alone: cursor, what was seen, ranks and contacts.
	Forced
)

// Batch is one step of one partition: the events of the records after From up
// to and including To. It may hold no event at all and only move the cursor.
type Batch struct {
	Mode      Mode
	Source    Source
	Partition int
	// From is the cursor the store is expected to have, zero for none.
	From, To Cursor
	// Events belong to Partition, in order.
	Events []event.Event
}

// Validate names what no store can apply.
func (b *Batch) Validate(partitions int) error {
	switch {
	case b.Partition < 0 || b.Partition >= partitions:
		return fmt.Errorf("apply batch: no partition %d of %d", b.Partition, partitions)
	case b.Mode == Advance && b.To.IsZero():
		return errors.New("apply batch: it leads to no cursor")
	}
	return nil
}

// Outcome is what became of one event of an applied batch.
type Outcome uint8

// The outcomes. A stale status took effect and carries "stale":true.
const (
	Fresh Outcome = iota
	Duplicate
	Stale
)

// Outcomes are the names of the outcomes, for metrics.
var Outcomes = [...]string{Fresh: "fresh", Duplicate: "duplicate", Stale: "stale"}

// Result is the answer to Apply.
type Result struct {
	// Applied is true where the batch took effect in this call.
	Applied bool
	// Stored is the cursor the store has after the call: To where Applied, else
	// the one that differed from From. It is zero where the mode is not Advance.
	Stored Cursor
	// Outcomes has one entry an event where Applied, else it is empty.
	Outcomes []Outcome
	// ContactsNew and ContactsUpdated count the contact events that were added.
	ContactsNew, ContactsUpdated int
}

// Claim asks for the contact of a customer.
type Claim struct {
	Customer *event.Customer
	// Message is the identity of the message that claims. Empty: only look up,
	// as a status and an echo do.
	Message string
	// Batch has the message, the same in all claims of a call. Where its mode is
	// Advance, ids are claimed only while the stored cursor equals From: a store
	// that went back must not have a contact born by a later message than before.
	// Nil: ids are claimed whatever the cursor is.
	Batch *Batch
}

// CursorError is why Claim claimed nothing: the store has another cursor than the
// batch's From.
type CursorError struct {
	// Stored is the cursor that the store has, as in a Result.
	Stored Cursor
}

// Error names the cursor.
func (e *CursorError) Error() string { return fmt.Sprintf("the stored cursor is %s", e.Stored) }

// Claimed is the answer to a Claim.
type Claimed struct {
	// Contact is the contact's id: the claimed one, or the customer's candidate
	// where a look-up found none. Where the wa_id and the user_id were claimed
	// apart it is the wa_id's.
	Contact uuid.UUID
	// Birth is the identity of the message that gave birth to the contact, empty
	// where a look-up found none.
	Birth string
}

// Contact is a customer who has written, as the store knows them.
type Contact struct {
	ID       uuid.UUID `json:"id"`
	WABA     string    `json:"waba_id"`
	WaID     string    `json:"wa_id,omitempty"`
	UserID   string    `json:"user_id,omitempty"`
	Name     string    `json:"name,omitempty"`
	Username string    `json:"username,omitempty"`
	// Birth is the identity of the message that gave birth to it.
	Birth string `json:"-"`
	// Updated is the time of the newest event that spoke of the profile: an
	// older one never changes it.
	Updated time.Time `json:"updated"`
}

// Place is where an event stands in its partition's stream. Places of one
// partition only ever grow, and one that was shown never names another event.
// Ms is a time in Unix milliseconds by the store's clock, and never below the
// time at which the event was appended.
type Place struct {
	Ms  uint64
	Seq uint64
}

// Compare is negative where p stands before q, positive after, 0 where equal.
func (p Place) Compare(q Place) int {
	switch {
	case p.Ms < q.Ms, p.Ms == q.Ms && p.Seq < q.Seq:
		return -1
	case p == q:
		return 0
	}
	return 1
}

// Entry is an event in a stream.
type Entry struct {
	Place   Place
	UID     uuid.UUID
	Type    string
	Payload []byte
}

// Round is what Follow emits: entries of any partitions, each partition's in
// order, and how far all partitions are complete.
type Round struct {
	// Entries holds one slice a partition that has news.
	Entries map[int][]Entry
	// Complete: once this round is handled, every entry of every partition that
	// stands at or before it was emitted, and no entry will appear there later.
	Complete Place
}

// Bounds tell what a partition's stream holds: the entries after Trimmed, up to
// and including Last. They are equal where it holds none. In a new store Trimmed
// may be its beginning, so that a place of an earlier store stands before it.
type Bounds struct {
	Trimmed, Last Place
}

// Feed is the reading side of a store.
type Feed interface {
	// Partitions is how many there are; it never changes.
	Partitions() int
	// Bounds gives each partition's bounds, and the Limit beyond which no place
	// was ever given out: a later one is of another store.
	Bounds(ctx context.Context) (bounds []Bounds, limit Place, err error)
	// Read gives entries of a partition after a place, oldest first: at most
	// limit of them, and no more after their payloads reach maxBytes. Fewer than
	// limit and less than maxBytes means that there are no more yet. It does
	// not notice a gap: compare with Bounds.Trimmed.
	Read(ctx context.Context, partition int, after Place, limit, maxBytes int) ([]Entry, error)
	// Follow emits all entries after the given places, one for each partition,
	// and then each new one soon after it was applied, until ctx ends (it
	// returns ctx.Err()), emit returns an error (it returns that), or the store
	// fails. It emits a Round without entries where only Complete moved, no more
	// than once a second. Entries must not be changed, and stay valid. It returns
	// ErrWentBack where a partition's stream ends before what was emitted of it:
	// the store lost a suffix. What was emitted as Complete holds even then.
	Follow(ctx context.Context, from []Place, emit func(Round) error) error
}

// Contacts is where personal data is looked up and forgotten.
type Contacts interface {
	// Contact gives the contact known under the id, a wa_id or a user_id;
	// ErrNoContact where there is none.
	Contact(ctx context.Context, waba, id string) (Contact, error)
	// Forget removes the contact, under all its ids, and its events from the
	// streams; it returns how many events went. ErrNoContact where there is none.
	Forget(ctx context.Context, waba, id string) (events int, err error)
}

// Store is the writing side.
type Store interface {
	// Partitions is how many there are; it never changes.
	Partitions() int
	// Cursors gives the cursors of a source by partition, zero where there is
	// none. What is returned is as durable as the store makes anything: records
	// up to it may be released. With a *PartitionsError those of the partitions
	// that it does not name are good.
	Cursors(ctx context.Context, source Source) ([]Cursor, error)
	// Claim answers each claim. A claim with a Message gives the customer's ids a
	// contact, set once; ids already claimed keep theirs. It fails with a
	// *CursorError where ids are to be claimed and the cursor is another.
	Claim(ctx context.Context, claims []Claim) ([]Claimed, error)
	// Apply applies the batch if the stored cursor equals From, in one atomic
	// step, and else changes nothing and tells the stored cursor. After an error
	// it is unknown whether the batch took effect; applying it again is safe, but
	// for a Forced one, whose events may then come twice with the same uids.
	Apply(ctx context.Context, batch *Batch) (Result, error)
}
