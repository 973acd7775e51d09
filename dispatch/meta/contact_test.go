package meta

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"spillway/dispatch/event"
)

func TestCustomer(t *testing.T) {
	const ana = `{"profile":{"name":"Ana","username":"@ana"},"wa_id":"1555","user_id":"US.1"}`
	const bo = `{"profile":{"name":"Bo"},"wa_id":"1666","user_id":"US.2"}`
	anaWrites := event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1", Name: "Ana", Username: "@ana", Writes: true}
	tests := []struct {
		name, lists string
		want        event.Customer // of the first event
	}{
		{"by number", `"contacts":[` + bo + `,` + ana + `],"messages":[{"id":"M","from":"1555"},{"id":"N","from":"1666"}]`, anaWrites},
		{"by user id", `"contacts":[` + bo + `,` + ana + `],"messages":[{"id":"M","from_user_id":"US.1"}]`, anaWrites},
		{"numbers as integers", `"contacts":[{"wa_id":1555,"user_id":7}],"messages":[{"id":8,"from":1555}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "7", Writes: true}},
		{"without contacts", `"messages":[{"id":"M","from":"1555","from_user_id":"US.1"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1", Writes: true}},
		{"named by the only contact", `"contacts":[` + ana + `],"messages":[{"id":"M"},{"id":"N"}]`, anaWrites},
		{"only contact, no id in common", `"contacts":[{"profile":{"name":"Ana","username":"@ana"},"user_id":"US.1"}],"messages":[{"id":"M","from":"1555"}]`, anaWrites},
		{"only contact, but of two messages", `"contacts":[{"profile":{"name":"Ana"},"user_id":"US.1"}],"messages":[{"id":"M","from":"1555"},{"id":"N","from":"1666"}]`,
			event.Customer{WABA: "W1", WaID: "1555", Writes: true}},
		{"only contact, another number", `"contacts":[` + ana + `],"messages":[{"id":"M","from":"1777"}]`,
			event.Customer{WABA: "W1", WaID: "1777", Name: "Ana", Username: "@ana", Writes: true}},
		{"the message's own ids win", `"contacts":[` + ana + `],"messages":[{"id":"M","from":"1555","from_user_id":"US.9"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.9", Name: "Ana", Username: "@ana", Writes: true}},
		{"in a group the sender", `"contacts":[` + ana + `],"messages":[{"id":"M","from":"1555","group_id":"G"}]`, anaWrites},
		{"a changed number", `"messages":[{"id":"M","from":"1555","type":"system","system":{"type":"user_changed_number","wa_id":"1888"}}]`,
			event.Customer{WABA: "W1", WaID: "1555", NewWaID: "1888", Writes: true}},
		{"a changed number, old spelling", `"messages":[{"id":"M","from":"1555","type":"system","system":{"type":"customer_changed_number","new_wa_id":1888}}]`,
			event.Customer{WABA: "W1", WaID: "1555", NewWaID: "1888", Writes: true}},
		{"a changed identity", `"messages":[{"id":"M","from":"1555","type":"system","system":{"type":"customer_identity_changed","wa_id":"1555"}}]`,
			event.Customer{WABA: "W1", WaID: "1555", Writes: true}},
		{"no system message", `"messages":[{"id":"M","from":"1555","type":"text","text":{"type":"user_changed_number","wa_id":"1888"}}]`,
			event.Customer{WABA: "W1", WaID: "1555", Writes: true}},
		{"an echo's is who it went to", `"contacts":[` + ana + `],"message_echoes":[{"id":"E","from":"1999","to":"1555"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
		{"an echo to a user id", `"message_echoes":[{"id":"E","from":"1999","to_user_id":"US.1"}]`, event.Customer{WABA: "W1", UserID: "US.1"}},
		{"an echo that names the contact alone", `"contacts":[` + ana + `],"message_echoes":[{"id":"E","from":"1999"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
		{"a status", `"contacts":[` + ana + `],"statuses":[{"id":"S","status":"sent","recipient_id":"1555"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
		{"a status of a user id", `"contacts":[` + bo + `,` + ana + `],"statuses":[{"id":"S","status":"sent","recipient_user_id":"US.1"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
		{"a status that names nobody, the contact", `"contacts":[` + ana + `],"statuses":[{"id":"S","status":"sent"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
		{"a participant's status", `"contacts":[` + bo + `,` + ana + `],"statuses":[{"id":"S","status":"read","recipient_id":"G","recipient_type":"group","recipient_participant_id":"1555"}]`,
			event.Customer{WABA: "W1", WaID: "1555", UserID: "US.1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, dead := Decode(received, []byte(inValue(test.lists)))
			if len(events) == 0 || len(dead) != 0 || events[0].Customer == nil {
				t.Fatalf("events %+v, dead letters %q", events, dead)
			}
			checkEvents(t, events)
			test.want.Contact = test.want.Candidate()
			if got := *events[0].Customer; got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			wantKey := test.want.Primary()
			if events[0].Type == event.MessageStatus {
				wantKey = "S"
			}
			if events[0].Key != wantKey {
				t.Errorf("key %q, want %q", events[0].Key, wantKey)
			}
		})
	}
}

// What went to nobody that is named passes all the same.
func TestNoCustomer(t *testing.T) {
	const contact = `"contacts":[{"wa_id":"1555"}],`
	tests := []struct{ name, lists, key string }{
		{"a status", `"statuses":[{"id":"S","status":"sent"}]`, "S"},
		{"a status of a group", contact + `"statuses":[{"id":"S","status":"sent","recipient_id":"G","recipient_type":"group"}]`, "S"},
		{"an echo", `"message_echoes":[{"id":"E","from":"1999"}]`, "E"},
		{"an echo to a group", contact + `"message_echoes":[{"id":"E","from":"1999","group_id":"G"}]`, "E"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, dead := Decode(received, []byte(inValue(test.lists)))
			if len(events) != 1 || len(dead) != 0 {
				t.Fatalf("%d events, dead letters %q", len(events), dead)
			}
			checkEvents(t, events)
			e := events[0]
			if e.Customer != nil || e.Key != test.key || !bytes.HasPrefix(e.Payload, []byte(`{"contact_id":"",`)) {
				t.Errorf("customer %v, key %q, payload %s", e.Customer, e.Key, e.Payload)
			}
			before := bytes.Clone(e.Payload)
			if e.SetContact(uuid.New()); !bytes.Equal(e.Payload, before) {
				t.Errorf("payload %s", e.Payload)
			}
		})
	}
}

func TestContactIsWrittenInPlace(t *testing.T) {
	for _, body := range []string{textMessage, campaignStatus} {
		events, _ := Decode(received, []byte(body))
		e := events[0]
		was, now := e.Customer.Contact, uuid.New()
		want := bytes.Replace(e.Payload, []byte(was.String()), []byte(now.String()), 1)
		if e.SetContact(now); !bytes.Equal(e.Payload, want) || e.Customer.Contact != now {
			t.Errorf("payload %s, want %s", e.Payload, want)
		}
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		fields, identity string
		want             event.Status
	}{
		{`"id":"S","status":"read","recipient_id":"1"`, "S:read", event.Status{Wamid: "S", Name: "read"}},
		{`"id":7,"status":"something new"`, "7:something new", event.Status{Wamid: "7", Name: "something new"}},
		{`"id":"S","status":"read","recipient_participant_id":"1555","recipient_participant_user_id":"US.1"`, "S:read:1555",
			event.Status{Wamid: "S", Name: "read", Participant: "1555"}},
		{`"id":"S\u003d","status":"read","recipient_participant_user_id":"US.1"`, "S=:read:US.1",
			event.Status{Wamid: "S=", Name: "read", Participant: "US.1"}},
	}
	for _, test := range tests {
		events, dead := Decode(received, []byte(inValue(`"statuses":[{`+test.fields+`}]`)))
		if len(events) != 1 || len(dead) != 0 {
			t.Fatalf("%s: %d events, dead letters %q", test.fields, len(events), dead)
		}
		e := events[0]
		if *e.Status != test.want || e.Identity != test.identity || e.Key != test.want.Wamid {
			t.Errorf("%s: status %+v, identity %q, key %q", test.fields, *e.Status, e.Identity, e.Key)
		}
	}
}

func TestChangeIdentity(t *testing.T) {
	identity := func(body string, at time.Time) string {
		events, _ := Decode(at, []byte(body))
		return events[0].Identity
	}
	base := changeOf("security", `{"event":"PIN_CHANGED"}`)
	if identity(base, received) != identity(base, received.Add(time.Hour)) {
		t.Error("a redelivery has another identity")
	}
	for _, other := range []string{
		changeOf("security", `{"event":"PIN_RESET"}`), changeOf("flows", `{"event":"PIN_CHANGED"}`),
		`{"entry":[{"id":"W2","time":1767323045,"changes":[{"field":"security","value":{"event":"PIN_CHANGED"}}]}]}`,
		`{"entry":[{"id":"W1","time":1767323046,"changes":[{"field":"security","value":{"event":"PIN_CHANGED"}}]}]}`,
	} {
		if identity(base, received) == identity(other, received) {
			t.Errorf("%s has the identity of %s", other, base)
		}
	}
}
