package main

import (
	"encoding/json"
	"fmt"
)

// content is a text in quotes, or the type of the message and what it says.
func (f lineFormat) content(p *payload) string {
	raw := p.Content[p.Type]
	var text string
	if p.Type == "text" && json.Unmarshal(raw, &text) == nil {
		return quoted(text)
	}
	var said said
	shown := ""
	if json.Unmarshal(raw, &said) == nil {
		shown = f.join(said.parts()...)
	}
	if shown == "" {
		shown = clean(string(raw), valueLength)
	}
	return f.join(f.paint(styleYellow, clean(p.Type, nameLength)), shown)
}

// said is what there is to read in the contents of all types.
type said struct {
	MimeType            string `json:"mime_type"`
	Filename            string
	Caption             string
	Text                string // of a button
	Body                string // of a system message
	Emoji               string // of a reaction
	Latitude, Longitude json.Number
	Name, Address       string                 // of a location
	ButtonReply         struct{ Title string } `json:"button_reply"`
	ListReply           struct{ Title string } `json:"list_reply"`
}

// parts are what to show, made clean; empty where there is nothing of it.
func (s *said) parts() []string {
	place := ""
	if s.Latitude != "" && s.Longitude != "" {
		place = clean(fmt.Sprintf("%s,%s", s.Latitude, s.Longitude), nameLength)
	}
	parts := []string{clean(s.MimeType, nameLength), clean(s.Filename, nameLength), place, clean(s.Emoji, nameLength)}
	for _, text := range []string{s.Name, s.Address, s.Caption, s.Text, s.Body, s.ButtonReply.Title, s.ListReply.Title} {
		if text != "" {
			parts = append(parts, quoted(text))
		}
	}
	return parts
}

// quoted keeps what a customer wrote apart from our own words.
func quoted(text string) string { return `"` + clean(text, textLength) + `"` }
