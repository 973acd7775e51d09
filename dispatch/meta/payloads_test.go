package meta

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealPayloads decodes webhooks that Meta sent, as others have kept them.
// They are no part of the project, and the test needs them to be there.
func TestRealPayloads(t *testing.T) {
	files, err := filepath.Glob("../../../shared/payloads/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no payloads beside the project")
	}
	// One of them holds a status without any key, and that is all that is bad.
	const bad = "entry[0].changes[0].value.statuses[0] id missing"
	counted, buried := map[string]int{}, 0
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			events, dead := Decode(received, body)
			checkEvents(t, events)
			checkReference(t, body, events, dead)
			for i := range dead {
				buried++
				if dead[i].Path+" "+dead[i].Reason != bad {
					t.Errorf("dead letter %q", dead[i])
				}
			}
			for i := range events {
				name, _, _ := strings.Cut(events[i].Type, ":")
				counted[name]++
				if c := events[i].Customer; c == nil && name != "webhook" {
					t.Errorf("no customer: %s", events[i].Payload)
				}
			}
		})
	}
	t.Logf("%d files: %v, %d dead", len(files), counted, buried)
	if buried > 1 {
		t.Errorf("%d dead letters", buried)
	}
}
