package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/event"
)

// FuzzDecode compares Decode with a reference that reads the same body by
// encoding/json, naively.
func FuzzDecode(f *testing.F) {
	for _, samples := range golden {
		for _, sample := range samples {
			f.Add([]byte(sample.body))
		}
	}
	for _, body := range []string{
		textMessage, campaignStatus, string(statuses(3)), `{"entry":[]}`, "{\"\xff\":\"\\ud800\"}", ` { "entry" : [ 1 ] } `,
		inValue(`"messages":[{},{"id":1},null,{"id":"a","from":"b","type":"te\u0078t","text":{"body":"\u00e9"}}],"statuses":7,"errors":[1]`),
		`{"entry":[{"changes":[{"value":{"statuses":[{"id":"S","status":"sent"}]}},{"field":"x","value":-0.1e+3}]}]}`,
		`{"entry":[{"changes":[{"field":"message_echoes","value":{"message_echoes":[{"id":"S","image":[1 , "\" "]}]}}]}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := bytes.Clone(body)
		events, dead := Decode(received, body)
		if !bytes.Equal(body, sent) {
			t.Fatal("Decode changed the body")
		}
		checkEvents(t, events)
		checkAgain(t, body, events, dead)
		if len(events)+len(dead) == 0 {
			t.Fatal("neither an event nor a dead letter")
		}
		for i := range dead {
			if strings.Contains(dead[i].Reason, "panic") {
				t.Fatalf("dead letter %q", dead[i])
			}
		}
		if dead != nil && strings.Contains(dead[0].Reason, "nested deeper") {
			return
		}
		checkReference(t, body, events, dead)
	})
}

// checkAgain decodes once more, later, and expects the same names.
func checkAgain(t *testing.T, body []byte, events []event.Event, dead []Dead) {
	t.Helper()
	again, deadAgain := Decode(received.Add(time.Hour), body)
	if len(again) != len(events) || !reflect.DeepEqual(dead, deadAgain) {
		t.Fatalf("%d events, then %d; dead letters %q, then %q", len(events), len(again), dead, deadAgain)
	}
	for i := range again {
		if again[i].UID != events[i].UID || again[i].Identity != events[i].Identity || again[i].Key != events[i].Key {
			t.Fatalf("event %d is %v, then %v", i, events[i], again[i])
		}
	}
}

// item is an element of a list of a conversation, as the reference sees it.
type item struct {
	path, list string
	value      any
}

func checkReference(t *testing.T, body []byte, events []event.Event, dead []Dead) {
	t.Helper()
	items, readable := reference(body)
	if whole := len(dead) == 1 && dead[0].Path == ""; whole == readable {
		t.Fatalf("dead letters %q, but encoding/json reads an entry: %t", dead, readable)
	}
	buried := map[string]bool{}
	for i := range dead {
		buried[dead[i].Path] = true
	}
	var alive []item
	for _, it := range items {
		if !buried[it.path] {
			alive = append(alive, it)
		}
	}
	var spoken []event.Event
	for i := range events {
		if !strings.HasPrefix(events[i].Type, event.WebhookPrefix) {
			spoken = append(spoken, events[i])
		}
	}
	if len(spoken) != len(alive) {
		t.Fatalf("%d messages and statuses, the reference has %d", len(spoken), len(alive))
	}
	for i := range spoken {
		checkItem(t, &spoken[i], alive[i])
	}
}

// checkItem compares an event with the item it came from.
func checkItem(t *testing.T, e *event.Event, it item) {
	t.Helper()
	source, ok := it.value.(map[string]any)
	if !ok {
		t.Fatalf("%s is no object, but became %s", it.path, e.Payload)
	}
	payload := parse(e.Payload).(map[string]any)
	if payload["wamid"] != fmt.Sprint(source["id"]) {
		t.Fatalf("wamid %v of %v", payload["wamid"], source["id"])
	}
	if it.list == "statuses" {
		if e.Type != event.MessageStatus || payload["status"] != source["status"] {
			t.Fatalf("%s: %s %s", it.path, e.Type, e.Payload)
		}
		return
	}
	direction := map[string]string{"messages": "incoming", "message_echoes": "outgoing"}[it.list]
	if e.Type != event.MessageNew || payload["direction"] != direction {
		t.Fatalf("%s: %s %s", it.path, e.Type, e.Payload)
	}
	kind := payload["type"].(string)
	if sent, _ := source["type"].(string); sent != "" && sent != kind {
		t.Fatalf("type %q of %q", kind, sent)
	}
	content := payload["content"].(map[string]any)
	want := source[kind]
	if object, _ := want.(map[string]any); kind == "text" && object != nil {
		if body, ok := object["body"].(string); ok {
			want = body
		}
	}
	if got, ok := content[kind]; !ok || len(content) != 1 || !reflect.DeepEqual(got, want) && !isNothing(got, want) {
		t.Fatalf("content %v, want %v", content, want)
	}
}

// isNothing is true where Meta sent nothing and the content is empty for it.
func isNothing(got, want any) bool {
	object, isObject := want.(map[string]any)
	if want != nil && (!isObject || len(object) > 0) {
		return false
	}
	return got == "" || reflect.DeepEqual(got, map[string]any{})
}

// parse reads JSON that may hold invalid UTF-8, nil where it is none.
func parse(text []byte) any {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(bytes.ToValidUTF8(text, []byte("\uFFFD"))))
	decoder.UseNumber()
	if !json.Valid(text) || decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

// reference finds the items of a body. readable is false where it has no entry
// that could be read.
func reference(body []byte) (items []item, readable bool) {
	top, _ := parse(body).(map[string]any)
	entries, _ := top["entry"].([]any)
	for i, element := range entries {
		entry, _ := element.(map[string]any)
		changes, _ := entry["changes"].([]any)
		for j, element := range changes {
			change, _ := element.(map[string]any)
			value, _ := change["value"].(map[string]any)
			lists := []string{"messages", "statuses", "message_echoes"}
			switch field, _ := change["field"].(string); field {
			case "", "messages", "smb_message_echoes", "message_echoes":
			default:
				lists = nil
			}
			for _, name := range lists {
				list, _ := value[name].([]any)
				for k, element := range list {
					path := fmt.Sprintf("entry[%d].changes[%d].value.%s[%d]", i, j, name, k)
					items = append(items, item{path, name, element})
				}
			}
		}
	}
	return items, len(entries) > 0
}

// FuzzUnescape compares strings, which the events' names are made of.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{`a`, `\u00e9`, `\ud83d\ude00`, `\ud83d\u0041`, `\udc00\ud83d`, `\"\\\/\b\f\n\r\t`, `é😀`, `\uD83D\n`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		text := bytes.ToValidUTF8([]byte(`{"entry":"`+inner+`"}`), []byte("\uFFFD"))
		var want map[string]string
		err := json.Unmarshal(text, &want)
		var got tape
		fault := got.parse(text)
		if (fault == "") != json.Valid(text) {
			t.Fatalf("fault %q of %q, encoding/json: %v", fault, text, err)
		}
		if err != nil || len(want) != 1 {
			return
		}
		key := string(got.text(1))
		if value := string(got.text(2)); want[key] != value {
			t.Fatalf("%q: key %q, value %q, want %q", text, key, value, want)
		}
	})
}
