package meta

import (
	"strconv"

	"spillway/dispatch/event"
)

// change is what an element of changes[] says about its items.
type change struct {
	index int
	// field as it stands, without text where it is missing or no string.
	field id
	value ref

	// What follows is read from the value of a conversation alone.
	phoneNumberID, displayPhoneNumber    id
	messages, statuses, echoes, problems ref
	// items is how many the list has that is being read.
	items int
}

// readChange decodes a change: item by item where it is part of a conversation,
// else whole. A conversation that yields nothing is passed on whole as well.
func (d *decoder) readChange(at ref) {
	d.change = change{index: d.change.index}
	if d.nodes[at].kind != object {
		d.bury(d.changePath(), notAnObject, at)
		return
	}
	field := ref(0)
	for key := at + 1; key < d.nodes[at].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "field":
			field = value
		case "value":
			d.change.value = value
		}
	}
	d.change.field = d.phrase(field)
	before := len(d.events) + len(d.dead)
	conversation := d.isConversation()
	if conversation {
		d.readConversation()
	}
	switch {
	case len(d.events)+len(d.dead) > before:
	case conversation && len(d.change.field.text) == 0:
		d.whole(event.WebhookMessages)
	default:
		d.whole(wholeType(d.change.field.text))
	}
}

// isConversation is true for the fields that carry messages and statuses, and
// where no field is given but the value has such a list.
func (d *decoder) isConversation() bool {
	value := d.change.value
	if value == 0 || d.nodes[value].kind != object {
		return false
	}
	switch string(d.change.field.text) {
	case "messages", "smb_message_echoes", "message_echoes":
		return true
	case "":
		return d.member(value, "messages") != 0 || d.member(value, "statuses") != 0 ||
			d.member(value, "message_echoes") != 0
	}
	return false
}

func (d *decoder) readConversation() {
	c := &d.change
	var metadata, contacts ref
	for key := c.value + 1; key < d.nodes[c.value].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "metadata":
			metadata = value
		case "contacts":
			contacts = value
		case "messages":
			c.messages = value
		case "statuses":
			c.statuses = value
		case "message_echoes":
			c.echoes = value
		case "errors":
			c.problems = value
		}
	}
	if metadata != 0 {
		c.phoneNumberID = d.id(d.member(metadata, "phone_number_id"))
		c.displayPhoneNumber = d.id(d.member(metadata, "display_phone_number"))
	}
	d.readContacts(contacts)
	d.readItems("messages", c.messages, (*decoder).message)
	d.readItems("statuses", c.statuses, (*decoder).status)
	d.readItems("message_echoes", c.echoes, (*decoder).echo)
	if c.problems != 0 && !d.isEmptyList(c.problems) {
		d.whole(event.WebhookErrors)
	}
}

func (d *decoder) isEmptyList(at ref) bool { return d.nodes[at].kind == array && d.empty(at) }

// readItems makes an event or a dead letter of each element of a list.
func (d *decoder) readItems(name string, list ref, read func(*decoder, ref) string) {
	if list == 0 {
		return
	}
	if d.nodes[list].kind != array {
		d.bury(d.changePath()+".value."+name, "not an array", list)
		return
	}
	d.change.items = d.count(list)
	if d.events == nil && d.change.items > 0 {
		d.events = make([]event.Event, 0, d.change.items)
	}
	index := 0
	for item := list + 1; item < d.nodes[list].next; item = d.nodes[item].next {
		if fault := d.readItem(item, read); fault != "" {
			d.bury(d.changePath()+".value."+name+"["+strconv.Itoa(index)+"]", fault, item)
		}
		index++
	}
}

// readItem reads one element, so that even a panic is its own alone. It returns
// what is wrong with it.
func (d *decoder) readItem(item ref, read func(*decoder, ref) string) (fault string) {
	before := len(d.events)
	defer func() {
		if cause := recover(); cause != nil {
			d.events, fault = d.events[:before], panicReason(cause)
		}
	}()
	if d.nodes[item].kind != object {
		return notAnObject
	}
	return read(d, item)
}

// changePath leads to the current change.
func (d *decoder) changePath() string {
	return d.entryPath() + ".changes[" + strconv.Itoa(d.change.index) + "]"
}

// wholeType is the type of a change that is passed on whole. Types are words
// that need no quoting, wherever they are written: a change whose field is
// missing, longer than 64 bytes, or holds other than letters, digits and _ - . is
// webhook:unknown.
func wholeType(field []byte) string {
	const longest = 64
	if len(field) == 0 || len(field) > longest {
		return event.WebhookPrefix + "unknown"
	}
	for _, c := range field {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return event.WebhookPrefix + "unknown"
		}
	}
	return event.WebhookPrefix + string(field)
}

// whole passes the change on as it is:
//
//	{"waba_id":"…","field":"…","value":…,"timestamp":"…"}
//
// The timestamp is the entry's, else the time of receipt. Where the value is
// missing it is null.
func (d *decoder) whole(eventType string) {
	c, value := &d.change, []byte("null")
	if c.value != 0 {
		value = d.raw(c.value)
	}
	out := append(d.scratch[:0], `{"waba_id":`...)
	out = d.appendID(out, d.entry.id)
	out = append(out, `,"field":`...)
	out = d.appendID(out, c.field)
	out = append(out, `,"value":`...)
	out = d.appendJSON(out, value)
	out = append(out, `,"timestamp":`...)
	out = d.appendTime(out, d.entry.time)
	d.scratch = append(out, '}')

	identity := event.ChangeIdentity(d.entry.waba, string(c.field.text), d.entry.timeText, value)
	d.add(eventType, identity, event.Event{Key: d.entry.waba, Time: d.entry.time})
}
