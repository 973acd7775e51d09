package meta

import (
	"bytes"
	"encoding/json"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"spillway/dispatch/event"
)

func TestWholeBodyIsDead(t *testing.T) {
	tests := []struct{ name, body, reason string }{
		{"nothing", ``, "not JSON: ends early at byte 0"},
		{"white space", " \n", "not JSON: ends early at byte 2"},
		{"truncated", textMessage[:len(textMessage)-3], "not JSON: ends early at byte 494"},
		{"truncated in a string", `{"entry":"a`, "not JSON: ends early at byte 11"},
		{"truncated in an escape", `{"entry":"\`, "not JSON: ends early at byte 11"},
		{"truncated in a code", `{"entry":"\u00`, "not JSON: ends early at byte 14"},
		{"truncated in a word", `{"entry":tru`, "not JSON: ends early at byte 12"},
		{"truncated in a number", `{"entry":-`, "not JSON: ends early at byte 10"},
		{"two values", `{} {}`, "not JSON: text after the end at byte 3"},
		{"no value", `{"entry":}`, "not JSON: no value at byte 9"},
		{"a comma too many", `{"entry":[1,]}`, "not JSON: no value at byte 12"},
		{"no key", `{"entry":1,}`, "not JSON: no key at byte 11"},
		{"no colon", `{"entry" 1}`, "not JSON: no colon at byte 9"},
		{"no comma", `{"entry":1 "a":2}`, "not JSON: no comma or end of object at byte 11"},
		{"no comma in an array", `[1 2]`, "not JSON: no comma or end of array at byte 3"},
		{"a number with a zero", `[01]`, "not JSON: bad number at byte 1"},
		{"a number without fraction", `[1.]`, "not JSON: bad number at byte 3"},
		{"a number without exponent", `[1e+]`, "not JSON: bad number at byte 4"},
		{"an unknown escape", `["\x"]`, "not JSON: bad escape at byte 3"},
		{"a line break in a string", "[\"\n\"]", "not JSON: control character in a string at byte 2"},
		{"invalid UTF-8 outside of strings", "{\xff}", "not JSON: no key at byte 1"},
		{"an array", `[{"entry":[]}]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"no entry", `{"object":"whatsapp_business_account"}`, "entry missing"},
		{"entry null", `{"entry":null}`, "entry missing"},
		{"entry an object", `{"entry":{}}`, "entry not an array"},
		{"entry empty", `{"entry":[]}`, "entry empty"},
		{"too deep", strings.Repeat("[", maxDepth+1), "nested deeper than 512 levels"},
		{"far too deep", strings.Repeat(`{"a":[`, 1<<20), "nested deeper than 512 levels"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, dead := Decode(received, []byte(test.body))
			if len(events) != 0 {
				t.Errorf("%d events", len(events))
			}
			want := []Dead{{Reason: test.reason, Item: []byte(test.body)}}
			if len(dead) != 1 || dead[0].Path != "" || dead[0].Reason != test.reason || string(dead[0].Item) != test.body {
				t.Errorf("dead letters %.200q, want %.200q", dead, want)
			}
		})
	}
}

func TestDeepestBody(t *testing.T) {
	// The object, entry, its element, changes and its element are five levels.
	nested := strings.Repeat("[", maxDepth-5) + strings.Repeat("]", maxDepth-5)
	events, dead := Decode(received, []byte(changeOf("deep", nested)))
	if len(events) != 1 || len(dead) != 0 {
		t.Fatalf("%d events, dead letters %.80q", len(events), dead)
	}
	checkEvents(t, events)
}

// outline is an event in short: type and identity, or a dead letter's path and
// reason.
func outline(events []event.Event, dead []Dead) []string {
	var lines []string
	for i := range events {
		identity := events[i].Identity
		if strings.HasPrefix(identity, "change:") {
			identity = "change"
		}
		lines = append(lines, events[i].Type+" "+identity)
	}
	for i := range dead {
		lines = append(lines, "dead "+dead[i].Path+" "+dead[i].Reason)
	}
	return lines
}

func TestOddShapes(t *testing.T) {
	const good = `{"id":"wamid.G","from":"1555"}`
	const value = "dead entry[0].changes[0].value."
	tests := []struct {
		name, body string
		want       []string
	}{
		{"entry is a number", `{"entry":[7]}`, []string{"dead entry[0] not an object"}},
		{"no changes", `{"entry":[{"id":"W1","messaging":[{}]},{"changes":[]},{"changes":{}}]}`,
			[]string{"dead entry[0] changes missing", "dead entry[1] changes empty", "dead entry[2] changes not an array"}},
		{"change is no object", `{"entry":[{"changes":[null,{"field":"security","value":{}}]}]}`,
			[]string{"webhook:security change", "dead entry[0].changes[0] not an object"}},
		{"no value", `{"entry":[{"changes":[{"field":"messages"},{"field":"security"},{}]}]}`,
			[]string{"webhook:messages change", "webhook:security change", "webhook:unknown change"}},
		{"value is a string", inChange(`"messages"`), []string{"webhook:messages change"}},
		{"no field, a message", `{"entry":[{"changes":[{"value":{"messages":[` + good + `]}}]}]}`, []string{"message:new wamid.G"}},
		{"no field, a status", `{"entry":[{"changes":[{"value":{"statuses":[{"id":"S","status":"sent"}]}}]}]}`, []string{"message:status S:sent"}},
		{"no field, an echo", `{"entry":[{"changes":[{"value":{"message_echoes":[{"id":"E","to":"1555"}]}}]}]}`, []string{"message:new echo:E"}},
		{"no field, an empty list", `{"entry":[{"changes":[{"value":{"messages":[]}}]}]}`, []string{"webhook:messages change"}},
		{"no field, nothing known", `{"entry":[{"changes":[{"value":{"event":"X"}}]}]}`, []string{"webhook:unknown change"}},
		{"field is a number", `{"entry":[{"changes":[{"field":7,"value":{"messages":[` + good + `]}}]}]}`, []string{"message:new wamid.G"}},
		{"field is no word", changeOf(`a\n,b`, `{}`), []string{"webhook:unknown change"}},
		{"field is long", changeOf(strings.Repeat("a", 65), `{}`), []string{"webhook:unknown change"}},
		{"messages of another field", changeOf("standby", `{"messages":[`+good+`]}`), []string{"webhook:standby change"}},
		{"statuses of calls", changeOf("calls", `{"statuses":[{"id":"S","status":"RINGING"}]}`), []string{"webhook:calls change"}},
		{"messages is an object", inValue(`"messages":{},"statuses":[{"id":"S","status":"read"}]`),
			[]string{"message:status S:read", value + "messages not an array"}},
		{"lists are null", inValue(`"messages":null,"statuses":null,"errors":null`), []string{"webhook:messages change"}},
		{"errors beside messages", inValue(`"messages":[` + good + `],"errors":[{"code":1}]`), []string{"message:new wamid.G", "webhook:errors change"}},
		{"errors empty", inValue(`"errors":[]`), []string{"webhook:messages change"}},
		{"errors of an odd type", inValue(`"errors":"many"`), []string{"webhook:errors change"}},
		{"bad items among good ones", inValue(`"messages":[null,{},{"id":""},{"id":{}},{"id":1.5},{"id":"A"},` + good + `],` +
			`"statuses":[[],{},{"id":"S"},{"id":"S","status":7},{"id":"S","status":"sent"}],"message_echoes":["e",{"to":"1555"}]`),
			[]string{
				"message:new wamid.G", "message:status S:sent",
				value + "messages[0] not an object", value + "messages[1] id missing", value + "messages[2] id missing",
				value + "messages[3] id missing", value + "messages[4] id missing", value + "messages[5] sender missing",
				value + "statuses[0] not an object", value + "statuses[1] id missing", value + "statuses[2] status missing",
				value + "statuses[3] status missing", value + "message_echoes[0] not an object", value + "message_echoes[1] id missing",
			}},
		{"odd optional fields", inValue(`"contacts":[7,{"profile":"x","wa_id":[]},{"profile":{"name":8},"wa_id":1555}],` +
			`"messages":[{"id":"wamid.G","from":1555,"type":[],"timestamp":{},"context":"c","referral":3,"errors":"e","group_id":{}}]`),
			[]string{"message:new wamid.G"}},
		{"odd optional fields of a status", inValue(`"metadata":[],"contacts":{},"statuses":[{"id":5,"status":"sent","timestamp":true,"recipient_id":[],"conversation":1,"pricing":"free"}]`),
			[]string{"message:status 5:sent"}},
		{"an escaped key", inChange(`{"\u006dessages":[` + good + `]}`), []string{"message:new wamid.G"}},
		{"a key in capitals", inChange(`{"Messages":[` + good + `]}`), []string{"webhook:messages change"}},
		{"a key twice", inChange(`{"messages":[{}],"messages":[` + good + `]}`), []string{"message:new wamid.G"}},
		{"a key twice, then null", inChange(`{"messages":[` + good + `],"messages":null}`), []string{"webhook:messages change"}},
		{"many entries", `{"entry":[{"changes":[{"field":"a","value":1},{"field":"b","value":2}]},{"changes":[{"field":"c","value":3}]}]}`,
			[]string{"webhook:a change", "webhook:b change", "webhook:c change"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, dead := Decode(received, []byte(test.body))
			checkEvents(t, events)
			if got := outline(events, dead); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestDeadItemIsTheItem(t *testing.T) {
	_, dead := Decode(received, []byte(inValue(`"messages":[{"id":"A"},{"from":"1555"}]`)))
	if len(dead) != 2 || string(dead[1].Item) != `{"from":"1555"}` {
		t.Errorf("dead letters %q", dead)
	}
}

func TestThousandUpdates(t *testing.T) {
	events, dead := Decode(received, statuses(1000))
	if len(events) != 1000 || len(dead) != 0 {
		t.Fatalf("%d events, %d dead letters", len(events), len(dead))
	}
	checkEvents(t, events)
	seen := map[string]bool{}
	for i := range events {
		seen[events[i].Identity] = true
	}
	if len(seen) != len(events) {
		t.Errorf("%d identities of %d events", len(seen), len(events))
	}
}

func TestInvalidUTF8(t *testing.T) {
	body := []byte(typed("text", `,"text":{"body":"a`+"\xff\xc0"+`b"}`))
	before := bytes.Clone(body)
	events, dead := Decode(received, body)
	if len(events) != 1 || len(dead) != 0 {
		t.Fatalf("%d events, dead letters %q", len(events), dead)
	}
	checkEvents(t, events)
	if want := "\"a\uFFFDb\""; string(content(t, events[0], "text")) != want {
		t.Errorf("payload %s, want the text %s", events[0].Payload, want)
	}
	if !bytes.Equal(body, before) {
		t.Error("Decode changed the body")
	}
}

func TestLoneSurrogate(t *testing.T) {
	events, _ := Decode(received, []byte(inValue(`"contacts":[{"wa_id":"1555","profile":{"name":"A\ud83d\u0041\udc00"}}],`+
		`"messages":[{"id":"M","from":"1555","type":"text","text":{"body":"\ud83d"}}]`)))
	checkEvents(t, events)
	if got := events[0].Customer.Name; got != "A\uFFFDA\uFFFD" {
		t.Errorf("name %q", got)
	}
}

func TestWhiteSpaceIsLeftOut(t *testing.T) {
	var indented bytes.Buffer
	body := typed("image", `,"image":{"caption":"a \" b\\","sizes":[1, 2]},"context":{"id":"wamid.C"}`)
	if err := json.Indent(&indented, []byte(body), " ", "\t"); err != nil {
		t.Fatal(err)
	}
	events, _ := Decode(received, indented.Bytes())
	checkEvents(t, events)
	want := `{"caption":"a \" b\\","sizes":[1,2]}`
	if got := content(t, events[0], "image"); string(got) != want {
		t.Errorf("content %s, want %s", got, want)
	}
	if bytes.ContainsAny(events[0].Payload, "\n\t") {
		t.Errorf("payload %s", events[0].Payload)
	}
}

// content is the value of a message's content.
func content(t *testing.T, e event.Event, name string) json.RawMessage {
	t.Helper()
	var payload struct{ Content map[string]json.RawMessage }
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	return payload.Content[name]
}

func TestTextContent(t *testing.T) {
	tests := []struct{ fields, want string }{
		{`,"text":{"body":"Hi"}`, `{"text":"Hi"}`},
		{`,"text":{"body":""}`, `{"text":""}`},
		{``, `{"text":""}`},
		{`,"text":null`, `{"text":""}`},
		{`,"text":{}`, `{"text":""}`},
		{`,"text":"Hi"`, `{"text":"Hi"}`},
		{`,"text":{"body":"no"},"text":{"body":"no","body":"Hi"}`, `{"text":"Hi"}`},
		{`,"text":{"body":7}`, `{"text":{"body":7}}`},
	}
	for _, test := range tests {
		events, _ := Decode(received, []byte(typed("text", test.fields)))
		if !bytes.Contains(events[0].Payload, []byte(`"content":`+test.want+`,`)) {
			t.Errorf("%s gives %s, want the content %s", test.fields, events[0].Payload, test.want)
		}
	}
}

func TestTypeIsInferred(t *testing.T) {
	tests := []struct{ fields, want string }{
		{`"text":{"body":"Hi"}`, `"type":"text","content":{"text":"Hi"}`},
		{`"type":7,"image":{"id":"1"}`, `"type":"image","content":{"image":{"id":"1"}}`},
		{`"image":null,"audio":{"id":"2"}`, `"type":"audio","content":{"audio":{"id":"2"}}`},
		{`"poem":{"id":"1"}`, `"type":"unknown","content":{"unknown":{}}`},
	}
	for _, test := range tests {
		events, _ := Decode(received, []byte(inValue(`"messages":[{"id":"M","from":"1555",`+test.fields+`}]`)))
		if !bytes.Contains(events[0].Payload, []byte(test.want)) {
			t.Errorf("%s gives %s, want %s", test.fields, events[0].Payload, test.want)
		}
	}
}

func TestTime(t *testing.T) {
	tests := []struct{ name, entry, item, written, event string }{
		{"a string", `7`, `"1767323045"`, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"an integer", `7`, `1767323045`, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"none, the entry's", `1767323045`, `null`, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"bad, the entry's as a string", `"1767323045"`, `"soon"`, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"bad, that of receipt", `{}`, `"1e9"`, "2026-01-02T03:04:06Z", ""},
		{"negative", `-1`, `-1767323045`, "2026-01-02T03:04:06Z", ""},
		{"zero", `0`, `"0"`, "2026-01-02T03:04:06Z", ""},
		{"a fraction", `1.5`, `1767323045.5`, "2026-01-02T03:04:06Z", ""},
		{"the last second", `0`, `253402300799`, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
		{"beyond the last second", `0`, `253402300800`, "2026-01-02T03:04:06Z", ""},
		{"beyond 64 bits", `0`, `99999999999999999999`, "2026-01-02T03:04:06Z", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			events, _ := Decode(received, []byte(`{"entry":[{"time":`+test.entry+`,"changes":[{"field":"messages","value":`+
				`{"statuses":[{"id":"S","status":"sent","timestamp":`+test.item+`}]}}]}]}`))
			checkEvents(t, events)
			if !bytes.Contains(events[0].Payload, []byte(`"timestamp":"`+test.written+`"`)) {
				t.Errorf("payload %s, want %s", events[0].Payload, test.written)
			}
			got := ""
			if !events[0].Time.IsZero() {
				got = events[0].Time.Format(time.RFC3339)
			}
			if got != test.event {
				t.Errorf("event's time %q, want %q", got, test.event)
			}
		})
	}
}

func TestPanicIsOneItemAlone(t *testing.T) {
	body := []byte(inValue(`"messages":[{"id":"A","from":"1"},{"id":"B","from":"1"},{"id":"C","from":"1"}]`))
	events, dead := decode(received, body, func(d *decoder) {
		d.change.value = root
		list := d.member(d.member(d.member(d.member(root, "entry")+1, "changes")+1, "value"), "messages")
		d.readItems("messages", list, func(d *decoder, item ref) string {
			fault := d.message(item)
			if d.events[len(d.events)-1].Identity == "B" {
				panic("B")
			}
			return fault
		})
	})
	want := []string{"message:new A", "message:new C", "dead entry[0].changes[0].value.messages[1] panic while decoding"}
	if got := outline(events, dead); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPanicIsADeadLetter(t *testing.T) {
	body := []byte(textMessage)
	events, dead := decode(received, body, func(d *decoder) {
		d.webhook()
		_ = d.nodes[len(d.data)]
	})
	if len(events) != 0 || len(dead) != 1 || dead[0].Path != "" || !bytes.Equal(dead[0].Item, body) ||
		!strings.HasPrefix(dead[0].Reason, "panic while decoding: runtime error: index out of range") {
		t.Errorf("%d events, dead letters %q", len(events), dead)
	}
}

// Events must outlive both the body and the decoder that made them.
func TestEventsAreIndependent(t *testing.T) {
	bodies := [][]byte{[]byte(textMessage), []byte(campaignStatus), []byte(changeOf("flows", `{"a":"b"}`)), []byte(`{"entry":[{"a":1}]}`)}
	type result struct {
		events []event.Event
		dead   []Dead
	}
	decodeAll := func(spoil bool) (results []result) {
		for _, body := range bodies {
			body = bytes.Clone(body)
			events, dead := Decode(received, body)
			if spoil {
				for i := range body {
					body[i] = 'x'
				}
			}
			results = append(results, result{events, dead})
		}
		return results
	}
	if kept, spoiled := decodeAll(false), decodeAll(true); !reflect.DeepEqual(kept, spoiled) {
		t.Errorf("%+v changed to %+v", kept, spoiled)
	}
}

func TestDecodersAreReused(t *testing.T) {
	d := &decoder{}
	d.nodes = make([]node, keptNodes+1)
	d.scratch = make([]byte, 10)
	d.contacts = append(d.contacts, contact{waID: id{text: []byte("1555")}})
	d.data = []byte("body")
	d.release()
	if cap(d.nodes) != 0 || cap(d.scratch) == 0 || d.data != nil || d.contacts[:1][0].waID.text != nil {
		t.Error("a decoder keeps what it must not, or drops what it may keep")
	}
	runtime.KeepAlive(d)
}

func TestReasonsHoldNoData(t *testing.T) {
	secret := "15550001008"
	for _, body := range []string{secret, `{"` + secret + `"}`, `{"entry":"` + secret + `"}`, inValue(`"messages":["` + secret + `"]`)} {
		_, dead := Decode(received, []byte(body))
		if len(dead) != 1 || strings.Contains(dead[0].Reason+dead[0].Path, secret) || !utf8.ValidString(dead[0].Reason) {
			t.Errorf("%s: dead letters %q", body, dead)
		}
	}
}
