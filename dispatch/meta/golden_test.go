package meta

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"spillway/dispatch/event"
)

var update = flag.Bool("update", false, "write the golden files again")

// received is when all webhooks of the tests arrived.
var received = time.Date(2026, 1, 2, 3, 4, 6, 700e6, time.UTC)

func TestGolden(t *testing.T) {
	for group, samples := range golden {
		t.Run(group, func(t *testing.T) {
			var got bytes.Buffer
			for _, sample := range samples {
				events, dead := Decode(received, []byte(sample.body))
				if len(events) != 1 || len(dead) != 0 {
					t.Fatalf("%s: %d events, dead letters %q", sample.name, len(events), dead)
				}
				checkEvents(t, events)
				e := events[0]
				fmt.Fprintf(&got, "# %s\nuid %s, identity %s, key %s\n%s %s\n\n", sample.name, e.UID, e.Identity, e.Key, e.Type, e.Payload)
			}
			file := filepath.Join("testdata", group+".golden")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s has\n%s\nbut it is now\n%s", file, want, got.Bytes())
			}
		})
	}
}

// alwaysThere are the keys that every payload of a type has.
func alwaysThere(eventType string) []string {
	switch eventType {
	case event.MessageNew:
		return []string{"contact_id", "id", "direction", "type", "content", "timestamp", "wamid", "phone_number_id", "display_phone_number", "waba_id"}
	case event.MessageStatus:
		return []string{"contact_id", "id", "wamid", "status", "timestamp", "phone_number_id", "waba_id"}
	}
	return []string{"waba_id", "field", "value", "timestamp"}
}

// checkEvents holds every event to what all of them promise.
func checkEvents(t *testing.T, events []event.Event) {
	t.Helper()
	for i := range events {
		e := &events[i]
		if !json.Valid(e.Payload) || !utf8.Valid(e.Payload) {
			t.Fatalf("payload is not JSON in UTF-8: %q", e.Payload)
		}
		var payload map[string]json.RawMessage
		if err := json.Unmarshal(e.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		for _, key := range alwaysThere(e.Type) {
			if payload[key] == nil {
				t.Errorf("%s lacks %s: %s", e.Type, key, e.Payload)
			}
		}
		var moment time.Time
		if err := json.Unmarshal(payload["timestamp"], &moment); err != nil || !bytes.HasSuffix(payload["timestamp"], []byte(`Z"`)) {
			t.Errorf("timestamp %s", payload["timestamp"])
		}
		if e.UID != event.UID(e.Type, e.Identity) {
			t.Errorf("uid %s of %s %q", e.UID, e.Type, e.Identity)
		}
		if (e.Status != nil) != (e.Type == event.MessageStatus) {
			t.Errorf("%s has status %v", e.Type, e.Status)
		}
		if c := e.Customer; c != nil && (c.Contact != c.Candidate() || c.Primary() == "") {
			t.Errorf("customer %+v", c)
		}
		if !e.Received.Equal(received) {
			t.Errorf("received %v", e.Received)
		}
	}
}
