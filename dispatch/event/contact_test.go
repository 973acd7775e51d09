package event

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

func TestContactChangeEvent(t *testing.T) {
	id := ContactID("100", "4915100000001")
	old := ContactID("100", "US.1")
	at := time.Unix(1767225600, 0)
	tests := []struct {
		name   string
		change ContactChange
		cause  Event
		kind   string
		want   string
	}{
		{
			name:   "new",
			change: ContactChange{ID: id, WABA: "100", WaID: "4915100000001", UserID: "US.1", Name: `A "<b>" & é`, Username: "u"},
			cause:  Event{Identity: "wamid.1", Key: "US.1", Time: at, Received: at.Add(time.Hour)},
			kind:   ContactNew,
			want: `{"id":"` + id.String() + `","waba_id":"100","wa_id":"4915100000001","user_id":"US.1",` +
				`"name":"A \"<b>\" & é","username":"u","timestamp":"2026-01-01T00:00:00Z"}`,
		}, {
			name:   "updated, no time of its own",
			change: ContactChange{ID: id, WABA: "100", Name: "B", Changed: []string{ChangedName}},
			cause:  Event{Identity: "wamid.2", Received: at.Add(time.Hour)},
			kind:   ContactUpdated,
			want: `{"id":"` + id.String() + `","waba_id":"100","name":"B",` +
				`"timestamp":"2026-01-01T01:00:00Z","changed":["name"]}`,
		}, {
			name:   "another id, nothing else",
			change: ContactChange{ID: id, WABA: "100", Changed: []string{}, Previous: old},
			cause:  Event{Identity: "wamid.3", Time: at},
			kind:   ContactUpdated,
			want: `{"id":"` + id.String() + `","waba_id":"100","timestamp":"2026-01-01T00:00:00Z",` +
				`"changed":[],"previous_id":"` + old.String() + `"}`,
		}, {
			name:   "bytes that are not UTF-8",
			change: ContactChange{ID: id, WABA: "100", Name: "x\xffy"},
			cause:  Event{Identity: "wamid.4", Time: at},
			kind:   ContactNew,
			want:   `{"id":"` + id.String() + `","waba_id":"100","name":"x�y","timestamp":"2026-01-01T00:00:00Z"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.change.Event(&tt.cause)
			if err != nil {
				t.Fatal(err)
			}
			if e.Type != tt.kind || string(e.Payload) != tt.want {
				t.Errorf("got %s %s\nwant %s %s", e.Type, e.Payload, tt.kind, tt.want)
			}
			if want := UID(tt.kind, id.String()+":"+tt.cause.Identity); e.UID != want {
				t.Errorf("uid %s, want %s", e.UID, want)
			}
			if !json.Valid(e.Payload) || !utf8.Valid(e.Payload) {
				t.Errorf("not JSON in UTF-8: %q", e.Payload)
			}
			prefix := ContactPrefix(e.Type, id)
			if string(e.Payload[:len(prefix)]) != string(prefix) {
				t.Errorf("payload does not start with %s", prefix)
			}
		})
	}
}

func TestContactPrefixOfMessage(t *testing.T) {
	id := uuid.MustParse("6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d10")
	if got, want := string(ContactPrefix(MessageNew, id)), `{"contact_id":"`+id.String()+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
