package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/stream/client"
)

// The formats of --output.
const (
	outputAuto = "auto"
	outputText = "text"
	outputJSON = "json"
)

// How many characters of a part of a line are shown.
const (
	nameLength  = 40
	textLength  = 120
	valueLength = 160
	idLength    = 8
)

// outputOf is the format that auto stands for, else what was asked for.
func outputOf(output string, w io.Writer) string {
	switch {
	case output != outputAuto:
		return output
	case isTerminal(w):
		return outputText
	}
	return outputJSON
}

// eventPrinter gives what prints an event on w.
func eventPrinter(output string, w io.Writer) (func(client.Event) error, error) {
	terminal := isTerminal(w)
	switch output = outputOf(output, w); {
	case output == outputText:
		f := lineFormat{palette: paletteOf(w), zone: time.Local}
		return func(e client.Event) error { return printLine(w, f.line(e)+"\n") }, nil
	case output == outputJSON && terminal:
		return func(e client.Event) error {
			var b bytes.Buffer
			if err := printJSON(&b, e); err != nil {
				return err
			}
			return printLine(w, cleanJSON(b.String()))
		}, nil
	case output == outputJSON:
		return func(e client.Event) error { return printJSON(w, e) }, nil
	}
	return nil, usageError("--output %q is not allowed; allowed: auto, text, json", output)
}

func printLine(w io.Writer, line string) error {
	if _, err := io.WriteString(w, line); err != nil {
		return fmt.Errorf("print event: %w", err)
	}
	return nil
}

// lineFormat makes a line to read of an event:
//
//	2026-01-01 01:00:00 message:new     ← Ada 15551234567 "Hello!" 15550000001 #6f0c4b9e
//	2026-01-01 01:00:02 message:status  → 15551234567 delivered 106 #6f0c4b9e
//
// Last come the business's number and the start of the message's id, which a
// message and its statuses share. All that others wrote goes through clean.
type lineFormat struct {
	palette
	zone *time.Location
}

// payload holds of any event's payload what a line shows.
type payload struct {
	ID, Timestamp, Direction, Type, Status, Field string

	Content            map[string]json.RawMessage
	Value              json.RawMessage
	ProfileName        string `json:"profile_name"`
	Name, Username     string
	From, To           string
	WaID               string `json:"wa_id"`
	UserID             string `json:"user_id"`
	RecipientID        string `json:"recipient_id"`
	RecipientUserID    string `json:"recipient_user_id"`
	GroupID            string `json:"group_id"`
	PhoneNumberID      string `json:"phone_number_id"`
	DisplayPhoneNumber string `json:"display_phone_number"`
	Stale              bool
	Replayed           bool
	Changed            []string
	PreviousID         string `json:"previous_id"`
	Errors             []payloadError
}

// payloadError is an error as Meta reports it.
type payloadError struct {
	Code           json.Number
	Title, Message string
}

// line is the event's, without a line break.
func (f lineFormat) line(e client.Event) string {
	var p payload
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		// A shape that was never seen is still shown.
		return f.join(f.head(e.Type, ""), clean(string(e.Payload), valueLength))
	}
	head := f.head(e.Type, p.Timestamp)
	switch e.Type {
	case event.MessageNew:
		return f.join(head, f.message(&p), f.foot(&p))
	case event.MessageStatus:
		return f.join(head, f.status(&p), f.foot(&p))
	case event.ContactNew, event.ContactUpdated:
		return f.join(head, f.contact(&p), f.foot(&p))
	}
	return f.join(head, clean(string(p.Value), valueLength))
}

// join puts the parts that are not empty side by side.
func (f lineFormat) join(parts ...string) string {
	kept := parts[:0:0]
	for _, part := range parts {
		if part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, " ")
}

// head is the time, in the zone of who reads it, and the type.
func (f lineFormat) head(kind, timestamp string) string {
	shown := "-"
	if at, err := time.Parse(time.RFC3339, timestamp); err == nil {
		shown = at.In(f.zone).Format(time.DateTime)
	}
	return f.paint(styleFaint, fmt.Sprintf("%-19s", shown)) + " " + f.paint(styleCyan, fmt.Sprintf("%-15s", clean(kind, nameLength)))
}

// foot tells where it belongs: the number of the business, and the message.
func (f lineFormat) foot(p *payload) string {
	number := clean(cmp.Or(p.DisplayPhoneNumber, p.PhoneNumberID), nameLength)
	id := []rune(clean(p.ID, nameLength))
	short := "#" + string(id[:min(idLength, len(id))])
	replayed := ""
	if p.Replayed {
		replayed = "replayed"
	}
	return f.paint(styleFaint, f.join(replayed, number, short))
}

func (f lineFormat) message(p *payload) string {
	arrow, number := "←", p.From
	if p.Direction == "outgoing" {
		arrow, number = "→", p.To
	}
	return f.join(arrow, f.who(p.ProfileName, p.Username, cmp.Or(number, p.UserID)), f.group(p), f.content(p), f.errors(p.Errors))
}

// statusStyles are the colours of the statuses; all others are yellow.
var statusStyles = map[string]string{
	"sent": styleFaint, "delivered": styleCyan, "read": styleGreen, "played": styleGreen, "failed": styleRed,
}

func (f lineFormat) status(p *payload) string {
	style, known := statusStyles[p.Status]
	if !known {
		style = styleYellow
	}
	stale := ""
	if p.Stale {
		stale = f.paint(styleFaint, "stale")
	}
	who := f.who("", "", cmp.Or(p.RecipientID, p.RecipientUserID))
	return f.join("→", who, f.paint(style, clean(p.Status, nameLength)), stale, f.errors(p.Errors))
}

func (f lineFormat) contact(p *payload) string {
	changed := ""
	if len(p.Changed) > 0 {
		changed = "changed " + clean(strings.Join(p.Changed, ", "), nameLength)
	}
	previous := ""
	if p.PreviousID != "" {
		previous = "was #" + clean(p.PreviousID, idLength)
	}
	return f.join("←", f.who(p.Name, p.Username, cmp.Or(p.WaID, p.UserID)), changed, previous)
}

// who is a customer by name and number, or by what is known of both.
func (f lineFormat) who(name, username, number string) string {
	if username != "" {
		username = "@" + username
	}
	return f.join(f.paint(styleBold, clean(cmp.Or(name, username), nameLength)), clean(number, nameLength))
}

func (f lineFormat) group(p *payload) string {
	if p.GroupID == "" {
		return ""
	}
	return "in group " + clean(p.GroupID, nameLength)
}

// errors are shown by code and title.
func (f lineFormat) errors(all []payloadError) string {
	var shown []string
	for _, e := range all {
		shown = append(shown, f.join(clean(e.Code.String(), nameLength), clean(cmp.Or(e.Title, e.Message), textLength)))
	}
	return f.paint(styleRed, strings.Join(shown, "; "))
}
