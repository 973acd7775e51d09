package meta

import (
	"strings"

	"spillway/dispatch/event"
)

// message is an element of messages[] or message_echoes[].
type message struct {
	wamid                   id
	from, fromUserID        id
	to, toUserID            id
	groupID                 id
	timestamp, kind         ref
	context, referral, errs ref
	// content is the value under the key that is named after the type.
	content ref
}

// contentTypes are the types whose object tells the type where Meta left it out.
var contentTypes = map[string]bool{
	"text": true, "image": true, "video": true, "document": true, "audio": true, "sticker": true,
	"location": true, "contacts": true, "interactive": true, "button": true, "reaction": true,
	"order": true, "system": true, "unsupported": true, "edit": true, "revoke": true,
	"media_placeholder": true, "request_welcome": true,
}

// message reads a message that a customer sent. It returns what is wrong with it.
func (d *decoder) message(item ref) (fault string) {
	m := d.readMessage(item)
	if len(m.wamid.text) == 0 {
		return "id missing"
	}
	who := contact{waID: m.from, userID: m.fromUserID}
	d.complete(&who)
	customer := d.asCustomer(&who, true)
	if customer == nil {
		return "sender missing"
	}
	customer.NewWaID = d.newWaID(&m)
	wamid := string(m.wamid.text)
	d.addMessage(&m, "incoming", wamid, wamid, &who, customer)
	return ""
}

// echo reads a message that the business sent from an app of its own; its
// customer is the one it went to. One to a group has none.
func (d *decoder) echo(item ref) (fault string) {
	m := d.readMessage(item)
	if len(m.wamid.text) == 0 {
		return "id missing"
	}
	who := contact{waID: m.to, userID: m.toUserID}
	if len(m.groupID.text) == 0 {
		d.complete(&who)
	}
	wamid := string(m.wamid.text)
	d.addMessage(&m, "outgoing", wamid, event.EchoIdentity(wamid), &who, d.asCustomer(&who, false))
	return ""
}

func (d *decoder) readMessage(item ref) message {
	var m message
	for key := item + 1; key < d.nodes[item].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "id":
			m.wamid = d.id(value)
		case "from":
			m.from = d.id(value)
		case "from_user_id":
			m.fromUserID = d.id(value)
		case "to":
			m.to = d.id(value)
		case "to_user_id":
			m.toUserID = d.id(value)
		case "group_id":
			m.groupID = d.id(value)
		case "timestamp":
			m.timestamp = value
		case "type":
			m.kind = value
		case "context":
			m.context = value
		case "referral":
			m.referral = value
		case "errors":
			m.errs = value
		}
	}
	if len(d.phrase(m.kind).text) == 0 {
		m.kind = d.inferType(item)
	}
	if m.kind != 0 {
		m.content = d.member(item, string(d.text(m.kind)))
	}
	return m
}

// inferType is the first key that is named after a type, 0 where there is none.
func (d *decoder) inferType(item ref) ref {
	for key := item + 1; key < d.nodes[item].next; key = d.nodes[key+1].next {
		if d.present(key+1) != 0 && contentTypes[string(d.text(key))] {
			return key
		}
	}
	return 0
}

// newWaID is the number that a customer changed to, as a system message tells it.
func (d *decoder) newWaID(m *message) string {
	if m.kind == 0 || m.content == 0 || string(d.text(m.kind)) != "system" {
		return ""
	}
	what := d.phrase(d.member(m.content, "type"))
	if !strings.HasSuffix(string(what.text), "_changed_number") {
		return ""
	}
	if number := d.id(d.member(m.content, "wa_id")); len(number.text) > 0 {
		return string(number.text)
	}
	return string(d.id(d.member(m.content, "new_wa_id")).text)
}

// addMessage adds the event of a message:
//
//	{"contact_id":"…","id":"…","direction":"incoming","type":"text","content":{"text":"Hello!"},
//	 "timestamp":"…","wamid":"…","phone_number_id":"…","display_phone_number":"…","waba_id":"…",…}
//
// Behind waba_id stand the fields that Meta does not always send.
func (d *decoder) addMessage(m *message, direction, wamid, identity string, who *contact, customer *event.Customer) {
	c, moment := &d.change, d.at(m.timestamp)
	out := d.appendContact(d.scratch[:0], customer)
	out = append(out, `,"id":"`...)
	out = event.AppendUUID(out, event.MessageID(wamid))
	out = append(append(append(out, `","direction":"`...), direction...), `","type":`...)
	out = d.appendType(out, m)
	out = append(out, `,"content":`...)
	out = d.appendContent(out, m)
	out = append(out, `,"timestamp":`...)
	out = d.appendTime(out, moment)
	out = append(out, `,"wamid":`...)
	out = d.appendID(out, m.wamid)
	out = append(out, `,"phone_number_id":`...)
	out = d.appendID(out, c.phoneNumberID)
	out = append(out, `,"display_phone_number":`...)
	out = d.appendID(out, c.displayPhoneNumber)
	out = append(out, `,"waba_id":`...)
	out = d.appendID(out, d.entry.id)
	out = d.appendIDField(out, `,"from":`, m.from)
	out = d.appendIDField(out, `,"to":`, m.to)
	out = d.appendIDField(out, `,"user_id":`, who.userID)
	out = d.appendIDField(out, `,"username":`, who.username)
	out = d.appendIDField(out, `,"profile_name":`, who.name)
	out = d.appendIDField(out, `,"group_id":`, m.groupID)
	out = d.appendField(out, `,"context":`, m.context)
	out = d.appendField(out, `,"referral":`, m.referral)
	out = d.appendField(out, `,"errors":`, m.errs)
	d.scratch = append(out, '}')

	key := wamid
	if customer != nil {
		key = customer.Primary()
	}
	d.add(event.MessageNew, identity, event.Event{Key: key, Time: moment, Customer: customer})
}

// appendType writes the name of the type, "unknown" where nothing tells it.
func (d *decoder) appendType(out []byte, m *message) []byte {
	if m.kind == 0 {
		return append(out, `"unknown"`...)
	}
	return append(out, d.raw(m.kind)...)
}

// appendContent writes {TYPE: …}: of a text the string, else Meta's object. A
// text without a body is the empty string, another type without an object {}.
func (d *decoder) appendContent(out []byte, m *message) []byte {
	out = append(out, '{')
	out = d.appendType(out, m)
	out = append(out, ':')
	isText := m.kind != 0 && string(d.text(m.kind)) == "text"
	switch {
	case m.content == 0 && isText:
		out = append(out, `""`...)
	case m.content == 0:
		out = append(out, `{}`...)
	case isText:
		out = d.appendText(out, m.content)
	default:
		out = d.appendJSON(out, d.raw(m.content))
	}
	return append(out, '}')
}

// appendText writes the body of a text. What has none, but says something, is
// passed on as it is.
func (d *decoder) appendText(out []byte, content ref) []byte {
	body := d.member(content, "body")
	if body != 0 && d.nodes[body].kind == text {
		return append(out, d.raw(body)...)
	}
	if d.nodes[content].kind == object && d.empty(content) {
		return append(out, `""`...)
	}
	return d.appendJSON(out, d.raw(content))
}
