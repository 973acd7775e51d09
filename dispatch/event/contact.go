package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// What a contact:updated names as changed.
const (
	ChangedName     = "name"
	ChangedUsername = "username"
	ChangedWaID     = "wa_id"
)

// ContactChange is what a contact:new or a contact:updated tells: the contact
// as it is after the change.
type ContactChange struct {
	ID             uuid.UUID
	WABA           string
	WaID, UserID   string
	Name, Username string
	// Changed names what changed. Nil means that the contact is new; empty that
	// nothing but its id is another.
	Changed []string
	// Previous is the id the contact went by before, nil where it kept its id.
	Previous uuid.UUID
}

// contactPayload is the wire form of a ContactChange, in the order written.
type contactPayload struct {
	ID        uuid.UUID `json:"id"`
	WABA      string    `json:"waba_id"`
	WaID      string    `json:"wa_id,omitempty"`
	UserID    string    `json:"user_id,omitempty"`
	Name      string    `json:"name,omitempty"`
	Username  string    `json:"username,omitempty"`
	Timestamp string    `json:"timestamp"`
	Changed   []string  `json:"changed,omitzero"`
	Previous  uuid.UUID `json:"previous_id,omitzero"`
}

// ContactPrefix is how the payload of every event about a contact starts: the
// contact events with "id", messages and statuses with "contact_id".
func ContactPrefix(eventType string, contact uuid.UUID) []byte {
	if eventType == ContactNew || eventType == ContactUpdated {
		return []byte(`{"id":"` + contact.String() + `"`)
	}
	return AppendContact(nil, contact)
}

// Event is the contact event that the message cause gives rise to. Its time is
// the message's, or when that was received where the message tells none. It
// belongs right before the message, in the message's partition.
func (c *ContactChange) Event(cause *Event) (Event, error) {
	kind := ContactUpdated
	if c.Changed == nil {
		kind = ContactNew
	}
	at := cause.Time
	if at.IsZero() {
		at = cause.Received
	}
	payload, err := c.payload(at)
	if err != nil {
		return Event{}, err
	}
	identity := ContactIdentity(c.ID, cause.Identity)
	return Event{
		UID:      UID(kind, identity),
		Type:     kind,
		Identity: identity,
		Key:      cause.Key,
		Time:     at,
		Received: cause.Received,
		Payload:  payload,
	}, nil
}

func (c *ContactChange) payload(at time.Time) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(contactPayload{
		ID:        c.ID,
		WABA:      valid(c.WABA),
		WaID:      valid(c.WaID),
		UserID:    valid(c.UserID),
		Name:      valid(c.Name),
		Username:  valid(c.Username),
		Timestamp: at.UTC().Format(time.RFC3339),
		Changed:   c.Changed,
		Previous:  c.Previous,
	})
	if err != nil {
		return nil, fmt.Errorf("write contact payload: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// valid replaces what is not UTF-8, so that no reader of the stream trips on it.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
