package main

import (
	"slices"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/meta"
	"spillway/ingest"
)

// bulkTypes are the events that may wait behind a campaign; an empty list of
// statuses is passed on as webhook:messages.
var bulkTypes = []string{event.MessageStatus, event.WebhookMessages, event.WebhookPrefix + "history", event.WebhookPrefix + "smb_app_state_sync"}

// FuzzLane holds the scan that chooses the lane against the decoder: what the
// decoder makes a message, an error or any other change of is never in bulk.
func FuzzLane(f *testing.F) {
	for _, seed := range []string{
		string(statusWebhook("wamid.1", "15550001001", "sent", "delivered")),
		string(messageWebhook("wamid.2", "15550001001", `"messages":[]`)),
		`{"entry":[{"id":"1","changes":[{"field":"history","value":{"history":[{"threads":[{"messages":[{"id":"wamid.3"}]}]}]}}]}]}`,
		`{"entry":[{"changes":[{"field":"smb_app_state_sync","value":{"state_sync":[]}}]}]}`,
		`{"entry":[{"changes":[{"field":"history","value":{"messages":[{"id":"m","from":"1"}]},"field":"messages"}]}]}`,
		`{"entry":[{"changes":[{"field":"messages","value":{"statuses":[{"id":"s","status":"sent"}],"\u006dessages":[{"id":"m","from":"1"}]}}]}]}`,
		`{"entry":[{"changes":[{"field":"messages","value":{"statuses":[{"id":"s","status":"sent"}],"Messages":[{"id":"m","from":"1"}]}}]}]}`,
		`{"entry":[{"changes":[{"field":"messages","value":{"statuses":[]}},{"field":"messages","value":{"messages":[{"id":"m","from":"1"}]}}]}]}`,
		`{"entry":[{"changes":[]}],"entry":[{"changes":[{"value":{"messages":[{"id":"m","from":"1"}]}}]}]}`,
		`{"entry":[{"changes":[{"field":"messages","value":{"statuses":[],"errors":[{"code":1}]}}]}]}`,
		`{"entry":[{"changes":[{"field":"messages","value":{"contacts":[],"statuses":[]}}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !ingest.Bulk(body) {
			return
		}
		events, _ := meta.Decode(time.Unix(1_800_000_000, 0), body)
		for _, e := range events {
			if !slices.Contains(bulkTypes, e.Type) {
				t.Errorf("in bulk, but yields %s: %q", e.Type, body)
			}
		}
	})
}
