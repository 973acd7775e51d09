// Package event holds what a webhook becomes: the events that reach a store,
// and the stable names they go by.
//
// One webhook yields many events. An event is decoded once (package meta),
// gets the id of its customer's contact before it is applied, and takes effect
// once, by its Identity. The package is a leaf: it imports nothing of ours.
package event

import (
	"encoding/hex"
	"time"

	"github.com/google/uuid"
	"github.com/zeebo/xxh3"
)

// The types an event can have. Every other change of a webhook has the type
// "webhook:" and the name of its field.
const (
	MessageNew     = "message:new"
	MessageStatus  = "message:status"
	ContactNew     = "contact:new"
	ContactUpdated = "contact:updated"

	// WebhookPrefix starts the type of a change that is passed on whole.
	WebhookPrefix = "webhook:"
	// WebhookErrors is the type of a messages change that reports errors.
	WebhookErrors = WebhookPrefix + "errors"
	// WebhookMessages is the type of a messages change that yields no other event.
	WebhookMessages = WebhookPrefix + "messages"
)

// Event is one thing that happened, on its way into a store.
type Event struct {
	// UID is the same for a redelivery, a replay and another node: UID(Type, Identity).
	UID uuid.UUID
	// Type is one of the constants above, or WebhookPrefix and a field's name.
	Type string
	// Identity is what the event is deduplicated by: the wamid of a message,
	// "echo:wamid", "wamid:status[:participant]", or a hash of the change.
	Identity string
	// Key decides the partition: the customer's user_id, else wa_id, for a
	// message; the wamid for a status, and for a message without a customer; the
	// WABA id for all else.
	Key string
	// Time is the event's own time; zero where Meta gave none that can be read.
	Time time.Time
	// Received is when the webhook arrived.
	Received time.Time
	// Payload is one JSON object in valid UTF-8. With a Customer it starts with
	// the contact_id, so that SetContact can write it in place.
	Payload []byte
	// Status is set on message:status alone.
	Status *Status
	// Customer is set where the event has a contact: in message:new and
	// message:status, but for what went to a group as a whole or to nobody named.
	// Without one the contact_id of those is empty.
	Customer *Customer
}

// IsWriter reports whether a customer wrote it: only then may it give birth to a
// contact or change one.
func (e *Event) IsWriter() bool { return e.Customer != nil && e.Customer.Writes }

// future is how far ahead of its receipt an event's own time is believed.
const future = 24 * time.Hour

// DedupeTime is the time that a store remembers the event by: its own, which
// every redelivery repeats, where that lies within window before its receipt and
// a day after; else that of its receipt, and own is false.
func (e *Event) DedupeTime(window time.Duration) (at time.Time, own bool) {
	if e.Time.IsZero() || e.Time.Before(e.Received.Add(-window)) || e.Time.After(e.Received.Add(future)) {
		return e.Received, false
	}
	return e.Time, true
}

// Status places a status among the others of its message.
type Status struct {
	// Wamid is the message; Participant the one it was delivered to or read by,
	// in groups alone.
	Wamid, Participant string
	// Name is Meta's word for the status: sent, delivered, read, played, failed, …
	Name string
}

// ranked are the statuses that follow one another, in order.
var ranked = [...]string{"sent", "delivered", "read", "played"}

// Rank is 1 for sent, 2 delivered, 3 read, 4 played, and 0 for any other
// status: those neither are nor make stale.
func (s *Status) Rank() int {
	for i, name := range ranked {
		if s.Name == name {
			return i + 1
		}
	}
	return 0
}

// Higher gives the identities of the statuses that make this one stale,
// none for a status without a rank.
func (s *Status) Higher() []string {
	r := s.Rank()
	if r == 0 {
		return nil
	}
	ids := make([]string, 0, len(ranked)-r)
	for _, name := range ranked[r:] {
		ids = append(ids, StatusIdentity(s.Wamid, name, s.Participant))
	}
	return ids
}

// Customer is the person at the other end, as one event shows them.
type Customer struct {
	// WABA is the id of the business account; contacts are kept apart by it.
	WABA string
	// WaID and UserID are the ids seen: the phone number as WhatsApp writes it, and
	// the one that is the business's own for this user. At least one is set.
	WaID, UserID string
	// NewWaID is set by a system message that tells of a changed number.
	NewWaID string
	// Name and Username are the profile, empty where the event has none or the
	// customer does not write.
	Name, Username string
	// Writes is true for a message of the customer's own: it may give birth to a
	// contact and change its profile. Statuses and echoes do neither.
	Writes bool

	// Contact is the contact's id. Decoding sets the one that a customer gets
	// who was never seen before; dispatching the one that was claimed.
	Contact uuid.UUID
	// Born is true where this very event gave birth to the contact.
	Born bool
}

// Primary is the id that the customer's messages are partitioned by and the
// contact's profile is kept under: the user id, else the WhatsApp id.
func (c *Customer) Primary() string {
	if c.UserID != "" {
		return c.UserID
	}
	return c.WaID
}

// Candidate is the contact id of a customer who has none yet.
func (c *Customer) Candidate() uuid.UUID {
	if c.WaID != "" {
		return ContactID(c.WABA, c.WaID)
	}
	return ContactID(c.WABA, c.UserID)
}

const contactPrefix = `{"contact_id":"`

// AppendContact starts a payload with a contact id: `{"contact_id":"UUID"`.
// The caller goes on with a comma or the closing brace.
func AppendContact(payload []byte, contact uuid.UUID) []byte {
	payload = append(payload, contactPrefix...)
	payload = AppendUUID(payload, contact)
	return append(payload, '"')
}

// AppendUUID appends what id.String() gives.
func AppendUUID(b []byte, id uuid.UUID) []byte {
	b = append(hex.AppendEncode(b, id[:4]), '-')
	b = append(hex.AppendEncode(b, id[4:6]), '-')
	b = append(hex.AppendEncode(b, id[6:8]), '-')
	b = append(hex.AppendEncode(b, id[8:10]), '-')
	return hex.AppendEncode(b, id[10:])
}

// SetContact makes contact the event's, in Customer and Payload. An event
// without a Customer stays as it is.
func (e *Event) SetContact(contact uuid.UUID) {
	if e.Customer == nil || e.Customer.Contact == contact {
		return
	}
	e.Customer.Contact = contact
	AppendUUID(e.Payload[len(contactPrefix):len(contactPrefix)], contact)
}

// Partition is the partition of a key, a pure function of both: xxh3-64 of the
// key modulo the number of partitions.
func Partition(key string, partitions int) int {
	return int(xxh3.HashString(key) % uint64(partitions))
}
