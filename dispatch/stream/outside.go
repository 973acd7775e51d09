package stream

import "spillway/dispatch/store"

// EventFilter decides which events somebody who is no socket wants.
type EventFilter struct{ filter *filter }

// NewEventFilter lets through the types that match one of the patterns, and of these
// what is of one of the phone numbers and one of the accounts; nil is no limit.
func NewEventFilter(events, phones, wabas []string) *EventFilter {
	return &EventFilter{newFilter(&Claims{Events: events, PhoneNumberIDs: phones, WABAIDs: wabas}, "", "")}
}

// Matches decides about an event.
func (f *EventFilter) Matches(eventType string, payload []byte) bool {
	var known facts
	return f.filter.matches(eventType, payload, &known)
}

// AppendEvent adds an event as sockets get it. Its id resumes after it, and all
// other partitions from the oldest they have: who is told of events one by one has
// no place in those.
func AppendEvent(b []byte, partition int, entry *store.Entry) []byte {
	var room [markMax]byte
	m := mark{form: oldestForm, partition: partition, place: entry.Place}
	return appendObject(b, m.append(room[:0]), quoted(entry.Type), entry)
}
