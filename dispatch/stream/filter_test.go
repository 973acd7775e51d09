package stream

import (
	"slices"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
)

func TestFilter(t *testing.T) {
	const message = `{"id":"x","phone_number_id":"1","waba_id":"w"}`
	tests := []struct {
		name           string
		claims         Claims
		events, phones string
		kind, payload  string
		want           bool
	}{
		{"no limit", Claims{}, "", "", "message:new", message, true},
		{"no limit and no object", Claims{}, "", "", "message:new", `null`, true},
		{"type", Claims{Events: []string{"message:new"}}, "", "", "message:new", message, true},
		{"other type", Claims{Events: []string{"message:new"}}, "", "", "message:status", message, false},
		{"prefix", Claims{Events: []string{"webhook:*"}}, "", "", "webhook:calls", message, true},
		{"prefix of another", Claims{Events: []string{"webhook:*"}}, "", "", "webhooks:calls", message, false},
		{"star inside a word is no pattern", Claims{Events: []string{"message:n*"}}, "", "", "message:new", message, false},
		{"all types", Claims{Events: []string{"*"}}, "", "", "contact:new", message, true},
		{"empty claim shows nothing", Claims{Events: []string{}}, "", "", "message:new", message, false},
		{"query narrows", Claims{Events: []string{"message:*"}}, "message:new", "", "message:status", message, false},
		{"query does not widen", Claims{Events: []string{"message:new"}}, "message:new,*", "", "contact:new", message, false},
		{"query with spaces and gaps", Claims{}, " ,message:new , ", "", "message:new", message, true},
		{"phone", Claims{PhoneNumberIDs: []string{"2", "1"}}, "", "", "message:new", message, true},
		{"other phone", Claims{PhoneNumberIDs: []string{"2"}}, "", "", "message:new", message, false},
		{"no phone", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "contact:new", `{"waba_id":"w"}`, false},
		{"empty phone is none", Claims{PhoneNumberIDs: []string{""}}, "", "", "contact:new", `{"waba_id":"w"}`, false},
		{"no phone allowed", Claims{PhoneNumberIDs: []string{}}, "", "", "message:new", message, false},
		{"query phone", Claims{}, "", "1,2", "message:new", message, true},
		{"query phone outside the claim", Claims{PhoneNumberIDs: []string{"2"}}, "", "1", "message:new", message, false},
		{"waba", Claims{WABAIDs: []string{"w"}}, "", "", "message:new", message, true},
		{"other waba", Claims{WABAIDs: []string{"v"}}, "", "", "message:new", message, false},
		{"no waba", Claims{WABAIDs: []string{"w"}}, "", "", "message:new", `{}`, false},
		{"all of them", Claims{Events: []string{"message:*"}, PhoneNumberIDs: []string{"1"}, WABAIDs: []string{"w"}},
			"message:new", "1", "message:new", message, true},
		{"phone in a change", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "webhook:calls",
			`{"waba_id":"w","value":{"metadata":{"phone_number_id":"1"}}}`, true},
		{"phone as a number", Claims{PhoneNumberIDs: []string{"106540352242922"}}, "", "", "webhook:calls",
			`{"value":{"metadata":{"phone_number_id":106540352242922}}}`, true},
		{"phone in the value", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "webhook:x", `{"value":{"phone_number_id":"1"}}`, true},
		{"value that is no object", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "webhook:x", `{"value":["1"]}`, false},
		{"metadata of a message does not count", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "message:new",
			`{"value":{"metadata":{"phone_number_id":"1"}}}`, false},
		{"phone that is an object", Claims{PhoneNumberIDs: []string{"1"}}, "", "", "message:new", `{"phone_number_id":{"1":1}}`, false},
	}
	for _, test := range tests {
		f := newFilter(&test.claims, test.events, test.phones)
		if got := f.matches(test.kind, []byte(test.payload), &facts{}); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestCheckTypes(t *testing.T) {
	good := []string{"message:new", "message:status", "contact:new", "contact:updated", "message:*", "contact:*", "webhook:*", "webhook:calls", "*"}
	if err := CheckTypes(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "nope", "message:", "message:neww", "message:n*", "nope:*", "webhook:", "webhook:c*", "Message:new", ":*", "**"} {
		if err := CheckTypes([]string{"message:new", bad}); err == nil || strings.Contains(err.Error(), `"message:new"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	many := slices.Repeat([]string{strings.Repeat("x", 8000)}, 100)
	if err := CheckTypes(many); err == nil || len(err.Error()) > 1000 {
		t.Error("the error of many types is long")
	}
}

func TestFilterKeys(t *testing.T) {
	same := [][2]*filter{
		{newFilter(&Claims{Events: []string{"b", "a", "a"}}, "", ""), newFilter(&Claims{Events: []string{"a", "b"}}, "", "")},
		{newFilter(&Claims{PhoneNumberIDs: []string{"1", "2"}}, "", "2"), newFilter(&Claims{}, "", "2")},
	}
	for _, pair := range same {
		if pair[0].key != pair[1].key {
			t.Errorf("keys %q and %q differ", pair[0].key, pair[1].key)
		}
	}
	keys := make(map[string]int)
	for i, f := range []*filter{
		newFilter(&Claims{}, "", ""), newFilter(&Claims{Events: []string{}}, "", ""), newFilter(&Claims{}, "a,b", ""),
		newFilter(&Claims{Events: []string{`a"t"b`}}, "", ""), newFilter(&Claims{Events: []string{"a"}}, "b", ""),
		newFilter(&Claims{PhoneNumberIDs: []string{"a"}}, "", ""), newFilter(&Claims{WABAIDs: []string{"a"}}, "", ""),
	} {
		if other, found := keys[f.key]; found {
			t.Errorf("filters %d and %d share the key %q", i, other, f.key)
		}
		keys[f.key] = i
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(websocket.TextMessage, []byte(`{"type":"auth","payload":{"token":"x"}}`))
	f.Add(websocket.TextMessage, []byte(`{"type":"auth","payload":null}`))
	f.Add(websocket.BinaryMessage, []byte{0})
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		token, problem := parseMessage(kind, data)
		if (token == "") == (problem == "") {
			t.Errorf("%d %q: token %q, problem %q", kind, data, token, problem)
		}
	})
}
