package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-json"

	"spillway/dispatch/event"
)

// filter is what a socket may see and wants to: the claims of its token and its
// query, of which an event must pass both.
type filter struct {
	// key is the same for filters that decide the same, for sockets that take the
	// same frames.
	key string
	// deflate is true where the socket takes compressed frames.
	deflate bool
	// types are lists of patterns: one of each list must match. No list, no limit.
	types [][]string
	// phones and wabas are sorted; nil is no limit, empty lets nothing through.
	phones, wabas []string
}

// newFilter joins the claims with the comma-separated lists of the query.
func newFilter(claims *Claims, events, phones string) *filter {
	f := &filter{phones: sorted(claims.PhoneNumberIDs), wabas: sorted(claims.WABAIDs)}
	for _, list := range [][]string{sorted(claims.Events), split(events)} {
		if list != nil {
			f.types = append(f.types, list)
		}
	}
	if wanted := split(phones); wanted != nil {
		f.phones = narrow(f.phones, wanted)
	}
	f.key = f.name()
	return f
}

// forDeflate makes it the filter of sockets that take compressed frames.
func (f *filter) forDeflate() {
	f.deflate = true
	f.key = "z" + f.key
}

// split gives the entries of a comma-separated list, sorted; nil where it has none.
func split(list string) []string {
	var out []string
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			out = append(out, entry)
		}
	}
	return sorted(out)
}

// sorted gives a copy without repeats, nil for nil.
func sorted(list []string) []string {
	if list == nil {
		return nil
	}
	out := append([]string{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}

// narrow is what both lists have, never nil.
func narrow(limit, wanted []string) []string {
	if limit == nil {
		return wanted
	}
	out := []string{}
	for _, entry := range wanted {
		if _, found := slices.BinarySearch(limit, entry); found {
			out = append(out, entry)
		}
	}
	return out
}

func (f *filter) name() string {
	var b []byte
	add := func(kind byte, list []string) {
		if list == nil {
			return
		}
		b = append(b, kind)
		for _, entry := range list {
			b = strconv.AppendQuote(b, entry)
		}
	}
	for _, list := range f.types {
		add('t', list)
	}
	add('p', f.phones)
	add('w', f.wabas)
	return string(b)
}

// matchesType decides by the type alone.
func (f *filter) matchesType(name string) bool {
	for _, patterns := range f.types {
		if !slices.ContainsFunc(patterns, func(p string) bool { return matchesPattern(p, name) }) {
			return false
		}
	}
	return true
}

func matchesPattern(pattern, name string) bool {
	if pattern == name || pattern == "*" {
		return true
	}
	prefix, wild := strings.CutSuffix(pattern, "*")
	return wild && strings.HasSuffix(prefix, ":") && strings.HasPrefix(name, prefix)
}

// knownTypes are the patterns that a webhook's own fields do not add to.
var knownTypes = []string{
	event.MessageNew, event.MessageStatus, event.ContactNew, event.ContactUpdated, "message:*", "contact:*", event.WebhookPrefix + "*", "*",
}

// CheckTypes refuses patterns that no event can match, most likely a slip: one would
// wait for it for ever. The error names the first few of them, and what is allowed.
func CheckTypes(patterns []string) error {
	const most = 5
	var wrong []string
	for _, pattern := range patterns {
		if !canMatch(pattern) && len(wrong) < most {
			wrong = append(wrong, fmt.Sprintf("%+.80q", pattern))
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%s is not a type of event; allowed: %s, %sFIELD",
		strings.Join(wrong, ", "), strings.Join(knownTypes, ", "), event.WebhookPrefix)
}

// canMatch reports whether an event of this version may have such a type.
func canMatch(pattern string) bool {
	field, webhook := strings.CutPrefix(pattern, event.WebhookPrefix)
	return slices.Contains(knownTypes, pattern) || webhook && field != "" && !strings.HasSuffix(field, "*")
}

// matches decides about an event. What it has to know of the payload is read
// once an event, and only where a filter asks.
func (f *filter) matches(name string, payload []byte, known *facts) bool {
	if !f.matchesType(name) {
		return false
	}
	if f.phones == nil && f.wabas == nil {
		return true
	}
	known.read(name, payload)
	return allows(f.phones, known.phone) && allows(f.wabas, known.waba)
}

func allows(list []string, id string) bool {
	if list == nil {
		return true
	}
	_, found := slices.BinarySearch(list, id)
	return found && id != ""
}

// facts are the ids in a payload that filters go by; empty where it has none.
type facts struct {
	known       bool
	phone, waba string
}

// read fills in the facts. A change that is passed on whole has its phone number
// in value.metadata.
func (f *facts) read(name string, payload []byte) {
	if f.known {
		return
	}
	f.known = true
	var top struct {
		Phone json.RawMessage `json:"phone_number_id"`
		WABA  json.RawMessage `json:"waba_id"`
		Value json.RawMessage `json:"value"`
	}
	if json.Unmarshal(payload, &top) != nil {
		return
	}
	f.phone, f.waba = plain(top.Phone), plain(top.WABA)
	if f.phone != "" || !strings.HasPrefix(name, event.WebhookPrefix) {
		return
	}
	var value struct {
		Phone    json.RawMessage `json:"phone_number_id"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if json.Unmarshal(top.Value, &value) != nil {
		return
	}
	var metadata struct {
		Phone json.RawMessage `json:"phone_number_id"`
	}
	if json.Unmarshal(value.Metadata, &metadata) == nil {
		f.phone = plain(metadata.Phone)
	}
	if f.phone == "" {
		f.phone = plain(value.Phone)
	}
}

// plain is the text of a JSON string or number, else empty.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil {
		return number.String()
	}
	return ""
}
