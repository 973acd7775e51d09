package meta

import (
	"bytes"
	"time"

	"spillway/dispatch/event"
)

// add completes an event and takes scratch as its payload.
func (d *decoder) add(eventType, identity string, e event.Event) {
	e.Type, e.Identity = eventType, identity
	e.UID = event.UID(eventType, identity)
	e.Received = d.received
	e.Payload = bytes.Clone(d.scratch)
	d.events = append(d.events, e)
}

// appendContact starts a payload with the customer's contact id, which is empty
// where the customer is not known.
func (d *decoder) appendContact(out []byte, customer *event.Customer) []byte {
	if customer == nil {
		return append(out, `{"contact_id":""`...)
	}
	return event.AppendContact(out, customer.Contact)
}

// appendID writes an id as a string, an empty one where there is none.
func (d *decoder) appendID(out []byte, name id) []byte {
	switch {
	case len(name.text) == 0:
		return append(out, `""`...)
	case d.nodes[name.at].kind == text:
		return append(out, d.raw(name.at)...)
	}
	out = append(append(out, '"'), name.text...)
	return append(out, '"')
}

// appendIDField writes `,"key":"id"` where there is an id.
func (d *decoder) appendIDField(out []byte, start string, name id) []byte {
	if len(name.text) == 0 {
		return out
	}
	return d.appendID(append(out, start...), name)
}

// appendField writes `,"key":value` where there is a value, as Meta sent it.
func (d *decoder) appendField(out []byte, start string, at ref) []byte {
	if at == 0 {
		return out
	}
	return d.appendJSON(append(out, start...), d.raw(at))
}

// appendJSON copies a value without the white space between its tokens.
func (d *decoder) appendJSON(out, value []byte) []byte {
	if !d.spaced {
		return append(out, value...)
	}
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case !quoted && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			continue
		case c == '"':
			quoted = !quoted
		case c == '\\': // in a string: what it escapes may be a quote
			out = append(out, c)
			i++
		}
		out = append(out, value[i])
	}
	return out
}

// appendTime writes a time in RFC 3339 in UTC, quoted: that of receipt where
// there is none.
func (d *decoder) appendTime(out []byte, moment time.Time) []byte {
	if moment.IsZero() {
		moment = d.received.UTC()
	}
	out = append(out, '"')
	out = moment.AppendFormat(out, time.RFC3339)
	return append(out, '"')
}

// at is the time of an item: its own, else its entry's, else zero.
func (d *decoder) at(timestamp ref) time.Time {
	if moment := d.moment(timestamp); !moment.IsZero() {
		return moment
	}
	return d.entry.time
}
