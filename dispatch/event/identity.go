package event

import (
	"crypto/sha1"

	"github.com/google/uuid"
	"github.com/zeebo/xxh3"
)

// namespace is Spillway's own in UUIDv5; changing it changes every id.
var namespace = uuid.MustParse("6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d10")

// stable is the UUIDv5 of the parts, which a colon each separates. It is made
// here and not by the uuid package because that allocates for each, and an
// event has three.
func stable(parts ...string) uuid.UUID {
	var room [256]byte
	b := append(room[:0], namespace[:]...)
	for i, part := range parts {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, part...)
	}
	sum := sha1.Sum(b)
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 5<<4
	id[8] = id[8]&0x3f | 0x80
	return id
}

// UID is the uid of the event of that type and identity.
func UID(eventType, identity string) uuid.UUID {
	return stable("event", eventType, identity)
}

// MessageID is the id of a message: of the message itself, of its echo and in
// each of its statuses.
func MessageID(wamid string) uuid.UUID { return stable("message", wamid) }

// ContactID is the id of a contact that is first seen under this id.
func ContactID(waba, id string) uuid.UUID { return stable("contact", waba, id) }

// EchoIdentity is the identity of a message the business itself sent.
func EchoIdentity(wamid string) string { return "echo:" + wamid }

// StatusIdentity is the identity of a status: wamid:status[:participant].
func StatusIdentity(wamid, status, participant string) string {
	if participant == "" {
		return wamid + ":" + status
	}
	return wamid + ":" + status + ":" + participant
}

// ContactIdentity is the identity of a contact event: the contact and the
// message that caused it.
func ContactIdentity(contact uuid.UUID, message string) string {
	return contact.String() + ":" + message
}

// ChangeIdentity is the identity of a change that is passed on whole: the hash
// of the account, the field, the entry's time and the value.
func ChangeIdentity(waba, field, entryTime string, value []byte) string {
	h := xxh3.New()
	for _, part := range []string{waba, field, entryTime} {
		_, _ = h.WriteString(part)
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(value)
	sum := h.Sum128().Bytes()
	return "change:" + uuid.UUID(sum).String()
}
