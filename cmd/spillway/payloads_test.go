package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"spillway/dispatch/event"
)

// payloads are real webhooks, kept beside the project and not in it.
const payloads = "../../../shared/payloads"

func readPayloads(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(payloads, "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no real webhooks beside the project")
	}
	bodies := make(map[string][]byte, len(files))
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bodies[file] = body
	}
	return bodies
}

// expected gives, by uid, every message and status that a webhook must yield, and
// how many items have no id and so can yield nothing. It reads the JSON its own
// way, to be a second opinion.
func expected(t *testing.T, body []byte, into map[string]string) (dead int) {
	t.Helper()
	var webhook struct {
		Entry []struct {
			ID, Time any
			Changes  []struct {
				Field string
				Value map[string]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(body, &webhook); err != nil {
		t.Fatal(err)
	}
	type item struct {
		ID, Status               string
		RecipientParticipant     string `json:"recipient_participant_id"`
		RecipientParticipantUser string `json:"recipient_participant_user_id"`
	}
	items := func(raw json.RawMessage) (list []item) {
		_ = json.Unmarshal(raw, &list)
		return list
	}
	for _, entry := range webhook.Entry {
		for _, change := range entry.Changes {
			if !conversation(change.Field) {
				continue
			}
			for _, m := range items(change.Value["messages"]) {
				into[event.UID(event.MessageNew, m.ID).String()] = event.MessageNew
			}
			for _, m := range items(change.Value["message_echoes"]) {
				into[event.UID(event.MessageNew, event.EchoIdentity(m.ID)).String()] = event.MessageNew
			}
			for _, s := range items(change.Value["statuses"]) {
				if s.ID == "" {
					dead++
					continue
				}
				participant := s.RecipientParticipant
				if participant == "" {
					participant = s.RecipientParticipantUser
				}
				uid := event.UID(event.MessageStatus, event.StatusIdentity(s.ID, s.Status, participant))
				into[uid.String()] = event.MessageStatus
			}
		}
	}
	return dead
}

// conversation is true for the fields whose items are events of their own.
func conversation(field string) bool {
	return field == "messages" || field == "message_echoes" || field == "smb_message_echoes" || field == ""
}

// otherChanges counts the changes that are passed on whole, by field, each
// distinct one once.
func otherChanges(t *testing.T, bodies map[string][]byte) map[string]int {
	t.Helper()
	distinct := make(map[string]bool)
	counts := make(map[string]int)
	for _, body := range bodies {
		var webhook struct {
			Entry []struct {
				ID, Time json.RawMessage
				Changes  []struct {
					Field string
					Value json.RawMessage
				}
			}
		}
		if err := json.Unmarshal(body, &webhook); err != nil {
			t.Fatal(err)
		}
		for _, entry := range webhook.Entry {
			for _, change := range entry.Changes {
				if conversation(change.Field) {
					continue
				}
				key := fmt.Sprintf("%s %s %s %s", entry.ID, change.Field, entry.Time, change.Value)
				if !distinct[key] {
					distinct[key] = true
					counts[event.WebhookPrefix+change.Field]++
				}
			}
		}
	}
	return counts
}

// TestEveryRealWebhook posts every real webhook to the real program, kills it
// with -9, posts them all again, and wants each event once.
func TestEveryRealWebhook(t *testing.T) {
	bodies := readPayloads(t)
	data := t.TempDir()
	p := start(t, data)
	postAll := func() {
		for file, body := range bodies {
			if status := p.post(body); status != 200 {
				t.Errorf("%s: answered %d", file, status)
			}
		}
	}
	postAll()
	p.kill()
	p = start(t, data)
	postAll()

	want := make(map[string]string)
	dead := 0
	for _, body := range bodies {
		dead += expected(t, body, want)
	}
	others := otherChanges(t, bodies)
	total := len(want)
	for _, n := range others {
		total += n
	}
	events := p.gather(total, caused)

	seen := make(map[string]received)
	for _, e := range events {
		if first, twice := seen[e.UID]; twice {
			t.Errorf("twice: %v\nand %v", first, e)
		}
		seen[e.UID] = e
	}
	for uid, kind := range want {
		if e, found := seen[uid]; !found || e.Type != kind {
			t.Errorf("%s %s is missing (%v)", kind, uid, e)
		}
	}
	got := make(map[string]int)
	for _, e := range events {
		if _, known := others[e.Type]; known {
			got[e.Type]++
		}
	}
	for kind, n := range others {
		if got[kind] != n {
			t.Errorf("%s: %d events, want %d", kind, got[kind], n)
		}
	}
	// Those posted before the kill may have been decoded before it.
	if got := p.metric("spillway_log_dead_letters"); got != fmt.Sprint(2*dead) {
		t.Errorf("%s dead letters, want %d: each item without an id, posted twice", got, 2*dead)
	}
}
