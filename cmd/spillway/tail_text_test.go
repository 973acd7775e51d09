package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/fasthttp/websocket"

	"spillway/dispatch/stream/client"
)

var plusOne = time.FixedZone("", 3600)

const aMessage = `"id":"6f0c4b9e-6a53-5d0c-9a3e-3a1f5b7c2d10","timestamp":"2026-01-01T00:00:00Z","phone_number_id":"106"`

func TestTailLines(t *testing.T) {
	ada := aMessage + `,"display_phone_number":"15550000001","from":"15551234567","profile_name":"Ada","direction":"incoming"`
	tests := map[string]struct{ kind, payload, want string }{
		"text": {"message:new", `{` + ada + `,"type":"text","content":{"text":"Hello!\n2nd"}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 "Hello!\n2nd" 15550000001 #6f0c4b9e`},
		"echo": {"message:new", `{` + aMessage + `,"direction":"outgoing","to":"15551234567","type":"text","content":{"text":"Yes?"}}`,
			`2026-01-01 01:00:00 message:new     → 15551234567 "Yes?" 106 #6f0c4b9e`},
		"image": {"message:new", `{` + ada + `,"type":"image","content":{"image":{"caption":"The view","mime_type":"image/jpeg","id":"1"}}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 image image/jpeg "The view" 15550000001 #6f0c4b9e`},
		"document": {"message:new", `{` + ada + `,"type":"document","content":{"document":{"filename":"a.pdf","mime_type":"application/pdf"}}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 document application/pdf a.pdf 15550000001 #6f0c4b9e`},
		"location": {"message:new", `{` + ada + `,"type":"location","content":{"location":{"latitude":52.5,"longitude":-13.25,"name":"Home"}}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 location 52.5,-13.25 "Home" 15550000001 #6f0c4b9e`},
		"reply": {"message:new", `{` + ada + `,"type":"interactive","content":{"interactive":{"type":"button_reply","button_reply":{"id":"y","title":"Yes"}}}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 interactive "Yes" 15550000001 #6f0c4b9e`},
		"reaction": {"message:new", `{` + ada + `,"group_id":"G","type":"reaction","content":{"reaction":{"message_id":"w","emoji":"👍"}}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 in group G reaction 👍 15550000001 #6f0c4b9e`},
		"other content": {"message:new", `{` + ada + `,"type":"contacts","content":{"contacts":[{"name":{}}]}}`,
			`2026-01-01 01:00:00 message:new     ← Ada 15551234567 contacts [{"name":{}}] 15550000001 #6f0c4b9e`},
		"unsupported": {"message:new", `{` + aMessage + `,"user_id":"US.1","username":"ada","type":"unsupported","content":{"unsupported":null},"errors":[{"code":131051,"title":"Message type unknown"}]}`,
			`2026-01-01 01:00:00 message:new     ← @ada US.1 unsupported null 131051 Message type unknown 106 #6f0c4b9e`},
		"delivered": {"message:status", `{` + aMessage + `,"recipient_id":"15551234567","status":"delivered","stale":true}`,
			`2026-01-01 01:00:00 message:status  → 15551234567 delivered stale 106 #6f0c4b9e`},
		"failed": {"message:status", `{` + aMessage + `,"recipient_user_id":"US.1","status":"failed","errors":[{"code":131026,"title":"Message undeliverable"},{"code":1,"message":"Other"}]}`,
			`2026-01-01 01:00:00 message:status  → US.1 failed 131026 Message undeliverable; 1 Other 106 #6f0c4b9e`},
		"new contact": {"contact:new", `{"id":"6f0c4b9e-6a53","waba_id":"1","wa_id":"15551234567","name":"Ada","timestamp":"2026-01-01T00:00:00Z"}`,
			`2026-01-01 01:00:00 contact:new     ← Ada 15551234567 #6f0c4b9e`},
		"updated contact": {"contact:updated", `{"id":"6f0c4b9e-6a53","user_id":"US.1","timestamp":"2026-01-01T00:00:00Z","changed":["name","wa_id"],"previous_id":"1234567890"}`,
			`2026-01-01 01:00:00 contact:updated ← US.1 changed name, wa_id was #12345678… #6f0c4b9e`},
		"webhook": {"webhook:account_update", `{"waba_id":"1","field":"account_update","value":{"event":"BANNED"},"timestamp":"2026-01-01T00:00:00Z"}`,
			`2026-01-01 01:00:00 webhook:account_update {"event":"BANNED"}`},
		"long webhook": {"webhook:x", `{"value":"` + strings.Repeat("é", 300) + `"}`,
			`-                   webhook:x       "` + strings.Repeat("é", 159) + `…`},
		"another shape": {"message:new", `{"id":["\u001b"]}`, `-                   message:new     {"id":["\u001b"]}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := lineFormat{zone: plusOne}
			if got := f.line(client.Event{Type: test.kind, Payload: json.RawMessage(test.payload)}); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestTailLineColours(t *testing.T) {
	f := lineFormat{zone: plusOne, palette: palette{on: true}}
	for status, style := range map[string]string{"sent": "2", "delivered": "36", "read": "32", "failed": "31", "warned": "33"} {
		e := client.Event{Type: "message:status", Payload: json.RawMessage(`{` + aMessage + `,"recipient_id":"1","status":"` + status + `"}`)}
		want := "\x1b[2m2026-01-01 01:00:00\x1b[0m \x1b[36mmessage:status \x1b[0m → 1 \x1b[" + style + "m" + status + "\x1b[0m \x1b[2m106 #6f0c4b9e\x1b[0m"
		if got := f.line(e); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// nasty is what people put into names and texts, and what is shown of it.
var nasty = map[string]string{
	"\x1b[2J\x1b]0;owned\x07": `\u001b[2J\u001b]0;owned\u0007`,
	"a\r\nb\tc\x00\x7f":       `a\r\nb\tc\u0000\u007f`,
	"\u009b31m":               `\u009b31m`,
	"\xff\x9b31m":             "��31m",
	"safe\u202egpj.exe\u2066": `safe\u202egpj.exe\u2066`,
	"a\u2028b\ufeff\u200e":    `a\u2028b\ufeff\u200e`,
	"\U000e0041\ue000":        `\udb40\udc41\ue000`,
	"a\u00a0b\u3000c":         "a b c",
	"👩\u200d👧 é שלום ไทย":     "👩\u200d👧 é שלום ไทย",
	`"quoted" \n`:             `"quoted" \n`,
}

func TestClean(t *testing.T) {
	for in, want := range nasty {
		if got := clean(in, 100); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"日本語", 3, "日本語"}, {"日本語", 2, "日本…"}, {"ab\x1bcd", 8, `ab\u001b…`}, {"ab\x1bcd", 7, `ab…`}, {"", 0, ""}, {"a", 0, "…"},
	} {
		if got := clean(test.in, test.limit); got != test.want {
			t.Errorf("%q within %d becomes %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}

// TestTailLineObeysNobody puts the nasty texts wherever others write.
func TestTailLineObeysNobody(t *testing.T) {
	payloads := []string{
		`{"id":?,"timestamp":?,"from":?,"user_id":?,"profile_name":?,"username":?,"group_id":?,"display_phone_number":?,"type":"text","content":{"text":?}}`,
		`{"direction":"outgoing","to":?,"type":?,"content":{?:{"caption":?,"filename":?,"mime_type":?,"emoji":?,"name":?}}}`,
		`{"status":?,"recipient_id":?,"errors":[{"title":?}],"phone_number_id":?}`,
		`{"name":?,"wa_id":?,"changed":[?],"previous_id":?}`,
		`{"value":{?:?}}`,
		`{"id":[?]}`,
	}
	kinds := []string{"message:new", "message:status", "contact:new", "webhook:\x1b[2J\u202e"}
	f := lineFormat{zone: plusOne}
	for text := range nasty {
		var literal bytes.Buffer
		if err := printJSON(&literal, text); err != nil {
			t.Fatal(err)
		}
		for _, payload := range payloads {
			for _, kind := range kinds {
				e := client.Event{Type: kind, Payload: json.RawMessage(strings.ReplaceAll(payload, "?", strings.TrimSpace(literal.String())))}
				line := f.line(e)
				if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !isVisible(r) }) {
					t.Errorf("%s with %q: %q", payload, text, line)
				}
			}
		}
	}
}

func TestCleanJSONMeansTheSame(t *testing.T) {
	for text := range nasty {
		text = strings.ToValidUTF8(text, "\ufffd")
		var b bytes.Buffer
		if err := printJSON(&b, map[string]string{"text": text}); err != nil {
			t.Fatal(err)
		}
		shown := cleanJSON(b.String())
		var back map[string]string
		if err := json.Unmarshal([]byte(shown), &back); err != nil || back["text"] != text {
			t.Errorf("%q comes back as %q, %v", text, back["text"], err)
		}
		if strings.ContainsAny(shown, "\x1b\x7f\u009b\u202e\u2028") {
			t.Errorf("%q is printed as %q", text, shown)
		}
	}
}

func TestPalette(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		{true, nil, true},
		{true, map[string]string{"TERM": "xterm-256color", "NO_COLOR": ""}, true},
		{true, map[string]string{"NO_COLOR": "1"}, false},
		{true, map[string]string{"TERM": "dumb"}, false},
		{false, map[string]string{"TERM": "xterm"}, false},
	} {
		if got := newPalette(test.terminal, func(name string) string { return test.env[name] }).on; got != test.want {
			t.Errorf("%+v: colours %v", test, got)
		}
	}
}

// TestTailOutput runs tail with its output in a file and on a terminal.
func TestTailOutput(t *testing.T) {
	without(t)
	event := `{"id":"place-1","uid":"00000000-0000-5000-8000-000000000001","type":"message:new",` +
		`"payload":{"id":"6f0c4b9e","from":"1","type":"text","content":{"text":"a` + "\u202e" + `b"}}}`
	url := streamServer(t, func(_ *http.Request, conn *websocket.Conn) { write(conn, event); hold(conn) })
	text := "-                   message:new     ← 1 \"a\\u202eb\" #6f0c4b9e\n"
	coloured := "\x1b[2m-                  \x1b[0m \x1b[36mmessage:new    \x1b[0m ← 1 \"a\\u202eb\" \x1b[2m#6f0c4b9e\x1b[0m\n"
	tests := []struct {
		output, noColor    string
		wantFile, wantTerm string
	}{
		{"auto", "", event + "\n", coloured},
		{"auto", "1", event + "\n", text},
		{"text", "", text, coloured},
		{"json", "", event + "\n", strings.ReplaceAll(event, "\u202e", `\u202e`) + "\n"},
	}
	for _, test := range tests {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", "xterm")
		args := []string{"tail", "--url", url, "--token", "t", "--count", "1", "--output", test.output}
		if got := spillway(t, "", args...); got.code != exitOK || got.stdout != test.wantFile {
			t.Errorf("%+v: file: got %d, %q", test, got.code, got.stdout)
		}
		if got := onTerminal(t, args...); got != test.wantTerm {
			t.Errorf("%+v: terminal: got %q", test, got)
		}
	}
}

// onTerminal gives what a command line writes to a terminal, which turns each \n
// into \r\n.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	keyboard, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keyboard.Close() }()
	shown := make(chan string)
	go func() {
		all, _ := io.ReadAll(keyboard) // ends with EIO, once the terminal is closed
		shown <- string(all)
	}()
	code := execute(args, strings.NewReader(""), terminal, io.Discard)
	_ = terminal.Close()
	if code != exitOK {
		t.Errorf("%q: exit code %d", args, code)
	}
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}
