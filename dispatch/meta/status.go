package meta

import "spillway/dispatch/event"

// status is an element of statuses[].
type status struct {
	wamid, name                        id
	recipientID, recipientUserID       id
	participantID, participantUserID   id
	recipientType                      id
	timestamp                          ref
	conversation, pricing, errs, cargo ref
}

// status reads a status. It returns what is wrong with it.
func (d *decoder) status(item ref) (fault string) {
	s := d.readStatus(item)
	switch {
	case len(s.wamid.text) == 0:
		return "id missing"
	case len(s.name.text) == 0:
		return "status missing"
	}
	who := s.recipient()
	if !s.toGroup() || len(s.participant().text) > 0 {
		d.complete(&who)
	}
	d.addStatus(&s, d.asCustomer(&who, false))
	return ""
}

func (d *decoder) readStatus(item ref) status {
	var s status
	for key := item + 1; key < d.nodes[item].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "id":
			s.wamid = d.id(value)
		case "status":
			s.name = d.phrase(value)
		case "recipient_id":
			s.recipientID = d.id(value)
		case "recipient_user_id":
			s.recipientUserID = d.id(value)
		case "recipient_participant_id":
			s.participantID = d.id(value)
		case "recipient_participant_user_id":
			s.participantUserID = d.id(value)
		case "recipient_type":
			s.recipientType = d.phrase(value)
		case "timestamp":
			s.timestamp = value
		case "conversation":
			s.conversation = value
		case "pricing":
			s.pricing = value
		case "errors":
			s.errs = value
		case "biz_opaque_callback_data":
			s.cargo = value
		}
	}
	return s
}

// participant tells apart the statuses that one message has in a group.
func (s *status) participant() id {
	if len(s.participantID.text) > 0 {
		return s.participantID
	}
	return s.participantUserID
}

func (s *status) toGroup() bool { return string(s.recipientType.text) == "group" }

// recipient is the customer the status is about: in a group the participant, as
// the recipient is the group itself.
func (s *status) recipient() contact {
	switch {
	case len(s.participant().text) > 0:
		return contact{waID: s.participantID, userID: s.participantUserID}
	case s.toGroup():
		return contact{}
	}
	return contact{waID: s.recipientID, userID: s.recipientUserID}
}

// addStatus adds the event of a status:
//
//	{"contact_id":"…","id":"…","wamid":"…","status":"sent","timestamp":"…","phone_number_id":"…","waba_id":"…",…}
//
// Behind waba_id stand the fields that Meta does not always send. contact_id is
// empty where nothing says who received the message, as in a group as a whole.
func (d *decoder) addStatus(s *status, customer *event.Customer) {
	moment := d.at(s.timestamp)
	identity, about := statusNames(s)
	out := d.appendContact(d.scratch[:0], customer)
	out = append(out, `,"id":"`...)
	out = event.AppendUUID(out, event.MessageID(about.Wamid))
	out = append(out, `","wamid":`...)
	out = d.appendID(out, s.wamid)
	out = append(out, `,"status":`...)
	out = d.appendID(out, s.name)
	out = append(out, `,"timestamp":`...)
	out = d.appendTime(out, moment)
	out = append(out, `,"phone_number_id":`...)
	out = d.appendID(out, d.change.phoneNumberID)
	out = append(out, `,"waba_id":`...)
	out = d.appendID(out, d.entry.id)
	out = d.appendIDField(out, `,"recipient_id":`, s.recipientID)
	out = d.appendIDField(out, `,"recipient_user_id":`, s.recipientUserID)
	out = d.appendIDField(out, `,"recipient_participant_id":`, s.participantID)
	out = d.appendField(out, `,"conversation":`, s.conversation)
	out = d.appendField(out, `,"pricing":`, s.pricing)
	out = d.appendField(out, `,"errors":`, s.errs)
	out = d.appendField(out, `,"biz_opaque_callback_data":`, s.cargo)
	d.scratch = append(out, '}')

	d.add(event.MessageStatus, identity, event.Event{
		Key: about.Wamid, Time: moment, Status: about, Customer: customer,
	})
}

// statusNames cuts the status' three names out of its identity, which holds them.
func statusNames(s *status) (identity string, about *event.Status) {
	wamid, name, participant := len(s.wamid.text), len(s.name.text), s.participant().text
	identity = event.StatusIdentity(string(s.wamid.text), string(s.name.text), string(participant))
	about = &event.Status{Wamid: identity[:wamid], Name: identity[wamid+1 : wamid+1+name]}
	if len(participant) > 0 {
		about.Participant = identity[wamid+1+name+1:]
	}
	return identity, about
}
