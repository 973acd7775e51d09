package ingest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	gojson "github.com/goccy/go-json"
)

const (
	metadata = `"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550001111","phone_number_id":"106540352242922"}`
	contacts = `"contacts":[{"profile":{"name":"Ana \"\\"},"wa_id":"15551230000"}]`
	statuses = `"statuses":[{"id":"wamid.HBgLMTU1NTEyMzAwMDAVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA","status":"delivered",` +
		`"timestamp":"1767225600","recipient_id":"15551230000","recipient_user_id":"US.13491208655302741918",` +
		`"conversation":{"id":"7d1c0d2b1f","origin":{"type":"utility"}},` +
		`"pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"utility"}}]`
	messages = `"messages":[{"from":"15551230000","id":"wamid.A","timestamp":"1767225600","type":"text","text":{"body":"Hi"}}]`

	statusValue  = "{" + metadata + "," + contacts + "," + statuses + "}"
	messageValue = "{" + metadata + "," + contacts + "," + messages + "}"
	statusChange = `{"value":` + statusValue + `,"field":"messages"}`
)

func inChanges(changes string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[` + changes + `]}]}`
}

func inValue(value string) string {
	return inChanges(`{"value":` + value + `,"field":"messages"}`)
}

var laneTable = []struct {
	name string
	body string
	bulk bool
}{
	{"status", inChanges(statusChange), true},
	{"two statuses", inChanges(statusChange + "," + statusChange), true},
	{"field first", inChanges(`{"field":"messages","value":` + statusValue + `}`), true},
	{"two entries", `{"entry":[{"id":"1","time":1,"changes":[` + statusChange + `]},{"changes":[` + statusChange + `]}],"object":"x"}`, true},
	{"white space", " {\r\n\t\"entry\" : [ { \"changes\" : [ { \"field\" : \"messages\" , \"value\" : { \"statuses\" : [ 1 ] } } ] } ] } \n", true},
	{"history", inChanges(`{"field":"history","value":{"history":[{"threads":[{"messages":[{}]}]}]}}`), true},
	{"history with anything", inChanges(`{"field":"history","value":[1,"a\\",null,{"messages":[]}]}`), true},
	{"app state", inChanges(`{"field":"smb_app_state_sync","value":{"state_sync":[]}}`), true},
	{"app state and status", inChanges(`{"field":"smb_app_state_sync","value":1},` + statusChange), true},
	{"quote escaped in a name", inValue(`{"contacts":[{"profile":{"name":"\",\"messages\":["}}],"statuses":[1]}`), true},
	{"backslashes before the end", inValue(`{"metadata":"\\\\","statuses":[1]}`), true},

	{"message", inValue(messageValue), false},
	{"message and status", inValue(`{` + messages + `,` + statuses + `}`), false},
	{"status, then message", inChanges(statusChange + `,{"value":` + messageValue + `,"field":"messages"}`), false},
	{"message, then history", inChanges(`{"value":` + messageValue + `,"field":"messages"},{"field":"history","value":{}}`), false},
	{"second entry with message", `{"entry":[{"changes":[` + statusChange + `]},{"changes":[{"field":"messages","value":` + messageValue + `}]}]}`, false},
	{"key in capitals", inValue(`{"Messages":[],` + statuses + `}`), false},
	{"statuses in capitals", inValue(`{"STATUSES":[1]}`), false},
	{"escaped key", inValue(`{"m\u0065ssages":[],` + statuses + `}`), false},
	{"long s", inValue(`{"meſſages":[],` + statuses + `}`), false},
	{"unknown key", inValue(`{"errors":[],` + statuses + `}`), false},
	{"no statuses", inValue(`{` + metadata + `}`), false},
	{"empty statuses", inValue(`{"statuses":[ ]}`), false},
	{"statuses is null", inValue(`{"statuses":null}`), false},
	{"statuses twice", inValue(`{` + statuses + `,` + statuses + `}`), false},
	{"empty value", inValue(`{}`), false},
	{"value is a list", inValue(`[` + statusValue + `]`), false},
	{"value is a string", inValue(`"{}"`), false},
	{"value twice", inChanges(`{"value":` + messageValue + `,"value":` + statusValue + `,"field":"messages"}`), false},
	{"value in capitals", inChanges(`{"value":` + statusValue + `,"Value":` + messageValue + `,"field":"messages"}`), false},
	{"field twice", inChanges(`{"field":"history","value":` + messageValue + `,"field":"messages"}`), false},
	{"field twice, the slow one last", inChanges(`{"field":"messages","value":` + messageValue + `,"field":"history"}`), false},
	{"field in capitals", inChanges(`{"Field":"history","value":{}}`), false},
	{"no field", inChanges(`{"value":` + statusValue + `}`), false},
	{"no value", inChanges(`{"field":"history"}`), false},
	{"field with escape", inChanges(`{"field":"histor\u0079","value":{}}`), false},
	{"field is null", inChanges(`{"field":null,"value":{}}`), false},
	{"other field", inChanges(`{"field":"calls","value":` + statusValue + `}`), false},
	{"echo", inChanges(`{"field":"smb_message_echoes","value":{"message_echoes":[{}]}}`), false},
	{"entry twice", `{"entry":[{"changes":[` + statusChange + `]}],"entry":[{"changes":[` + statusChange + `]}]}`, false},
	{"changes twice", `{"entry":[{"changes":[` + statusChange + `],"changes":[` + statusChange + `]}]}`, false},
	{"key beside changes", `{"entry":[{"changes":[` + statusChange + `],"messaging":[{}]}]}`, false},
	{"key beside entry", `{"entry":[{"changes":[` + statusChange + `]}],"changes":[]}`, false},
	{"no changes", inChanges(``), false},
	{"entry without changes", `{"entry":[{"id":"1"}]}`, false},
	{"no entry", `{"object":"x","entry":[]}`, false},
	{"entry is an object", `{"entry":{"changes":[` + statusChange + `]}}`, false},
	{"root is a list", `[` + inChanges(statusChange) + `]`, false},
	{"root is null", `null`, false},
	{"empty", ``, false},
	{"empty object", `{}`, false},
	{"only space", " \n", false},
	{"byte order mark", "\ufeff" + inChanges(statusChange), false},
	{"more after the end", inChanges(statusChange) + `{}`, false},
	{"NUL", inValue("{\"statuses\":[1],\"metadata\":\"\x00\"}"), false},
	{"comment", inValue(`{"statuses":[1/*"*/]}`), false},
	{"crossed brackets", inValue(`{"statuses":[{]}}`), false},
	{"trailing comma", inValue(`{"statuses":[1],}`), false},
	{"missing comma", inValue(`{"statuses":[1]"metadata":1}`), false},
	{"65 deep", inValue(`{"statuses":` + strings.Repeat("[", 65) + "1" + strings.Repeat("]", 65) + `}`), false},
	{"64 deep", inValue(`{"statuses":` + strings.Repeat("[", 64) + "1" + strings.Repeat("]", 64) + `}`), true},
}

func TestBulk(t *testing.T) {
	for _, test := range laneTable {
		t.Run(test.name, func(t *testing.T) {
			if got := Bulk([]byte(test.body)); got != test.bulk {
				t.Errorf("Bulk(%s) = %v, want %v", test.body, got, test.bulk)
			}
		})
	}
}

// Whatever is cut off, what is left is no whole webhook.
func TestBulkTruncated(t *testing.T) {
	body := []byte(inChanges(statusChange))
	for n := range body {
		if Bulk(body[:n:n]) {
			t.Fatalf("the first %d bytes of %d are bulk", n, len(body))
		}
	}
}

func TestBulkAllocates(t *testing.T) {
	body := []byte(inChanges(statusChange))
	if n := testing.AllocsPerRun(100, func() { Bulk(body) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// pair is a member of an object; a decoded object is a list of them, so that
// repeated keys and their order are kept.
type pair struct {
	key   string
	value any
}

func decodePairs(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			element, err := decodePairs(d)
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		object := []pair{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := decodePairs(d)
			if err != nil {
				return nil, err
			}
			object = append(object, pair{key.(string), value})
		}
		_, err = d.Token()
		return object, err
	}
	return token, nil
}

// under gives all values of a key, spelt in any case, in any of the values; a
// list stands for its elements.
func under(values []any, key string) (found []any) {
	for _, value := range values {
		switch v := value.(type) {
		case []any:
			found = append(found, under(v, key)...)
		case []pair:
			for _, p := range v {
				if strings.EqualFold(p.key, key) {
					found = append(found, p.value)
				}
			}
		}
	}
	return found
}

// flat replaces lists by their elements.
func flat(values []any) (elements []any) {
	for _, value := range values {
		if list, ok := value.([]any); ok {
			elements = append(elements, flat(list)...)
		} else {
			elements = append(elements, value)
		}
	}
	return elements
}

// mayHoldMessage reads a body in every way that a forgiving decoder might. It is
// false only where no reading finds anything but statuses and the slow fields.
func mayHoldMessage(root any) bool {
	changes := flat(under(under([]any{root}, "entry"), "changes"))
	if len(changes) == 0 {
		return true
	}
	for _, change := range changes {
		fields := under([]any{change}, "field")
		slow := len(fields) > 0
		for _, field := range fields {
			slow = slow && (field == "history" || field == "smb_app_state_sync")
		}
		if slow {
			continue
		}
		values := flat(under([]any{change}, "value"))
		if len(fields) != 1 || fields[0] != "messages" || len(under(values, "statuses")) == 0 {
			return true
		}
		for _, value := range values {
			object, ok := value.([]pair)
			if !ok {
				return true
			}
			for _, p := range object {
				switch p.key {
				case "messaging_product", "metadata", "contacts", "statuses":
				default:
					return true
				}
			}
		}
	}
	return false
}

// decoded is the shape a decoder of webhooks gives its library.
type decoded struct {
	Entry []struct {
		Changes []struct {
			Field string
			Value struct {
				Messages []any
			}
		}
	}
}

func (d *decoded) hasMessage() bool {
	for _, entry := range d.Entry {
		for _, change := range entry.Changes {
			if change.Field != "history" && change.Field != "smb_app_state_sync" && len(change.Value.Messages) > 0 {
				return true
			}
		}
	}
	return false
}

func FuzzBulk(f *testing.F) {
	for _, test := range laneTable {
		f.Add([]byte(test.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !Bulk(body) {
			return
		}
		root, err := decodePairs(json.NewDecoder(bytes.NewReader(body)))
		if err == nil && mayHoldMessage(root) {
			t.Errorf("bulk, but encoding/json may find a message: %q", body)
		}
		// A library may be content with what is no JSON.
		var strict, lax decoded
		_ = json.Unmarshal(body, &strict)
		_ = gojson.Unmarshal(body, &lax)
		if strict.hasMessage() || lax.hasMessage() {
			t.Errorf("bulk, but a decoder finds a message: %q", body)
		}
	})
}

func BenchmarkBulk(b *testing.B) {
	for _, bench := range []struct{ name, body string }{
		{"status", inChanges(statusChange)},
		{"message", inValue(messageValue)},
		{"100 statuses", inChanges(statusChange + strings.Repeat(","+statusChange, 99))},
	} {
		b.Run(bench.name, func(b *testing.B) {
			body := []byte(bench.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				Bulk(body)
			}
		})
	}
}
