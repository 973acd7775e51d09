package ingest

import "bytes"

// Bulk reports whether a body surely holds nothing but statuses, history or
// smb_app_state_sync, and so may wait behind what customers write. It is false
// whenever it is not sure: for what is no JSON, for an unknown, repeated,
// escaped or otherwise spelt key on the way to a message, and for a body without
// any change.
//
// It goes over the bytes once and makes nothing of them:
//
//	{"object":…,"entry":[{"id":…,"time":…,"changes":[{"field":…,"value":{…}}]}]}
//
// where each field is history or smb_app_state_sync, or is messages and its
// value has statuses and no other key but messaging_product, metadata and
// contacts.
func Bulk(body []byte) bool {
	// Some decoders take a NUL for the end.
	if bytes.IndexByte(body, 0) >= 0 {
		return false
	}
	end := leading(body, space(body, 0), rootKey, entries)
	return end >= 0 && space(body, end) == len(body)
}

// Each scan below starts at the first byte of a value in b and returns the place
// after the value's last byte, or unsure.
type scan func(b []byte, i int) int

const unsure = -1

// meaning is what a key means for the way to the changes.
type meaning uint8

const (
	unknown meaning = iota
	aside           // its value is of no matter
	onward          // its value leads to the changes
)

func rootKey(name []byte) meaning {
	switch string(name) {
	case "object":
		return aside
	case "entry":
		return onward
	}
	return unknown
}

func entryKey(name []byte) meaning {
	switch string(name) {
	case "id", "time":
		return aside
	case "changes":
		return onward
	}
	return unknown
}

func entries(b []byte, i int) int { return list(b, i, entry) }
func entry(b []byte, i int) int   { return leading(b, i, entryKey, changes) }
func changes(b []byte, i int) int { return list(b, i, change) }

// leading scans an object that has exactly one key onward, whose value next
// scans, and no unknown one.
func leading(b []byte, i int, mean func([]byte) meaning, next scan) int {
	if at(b, i) != '{' {
		return unsure
	}
	for led := false; ; {
		name, value := member(b, i+1)
		if value < 0 {
			return unsure
		}
		switch what := mean(name); {
		case what == aside:
			i = skip(b, value)
		case what == onward && !led:
			led = true
			i = next(b, value)
		default:
			return unsure
		}
		if i = separator(b, i, '}'); i < 0 {
			return unsure
		}
		if b[i] == '}' {
			if !led {
				return unsure
			}
			return i + 1
		}
	}
}

// list scans an array of at least one element.
func list(b []byte, i int, element scan) int {
	if at(b, i) != '[' {
		return unsure
	}
	for {
		i = separator(b, element(b, space(b, i+1)), ']')
		if i < 0 {
			return unsure
		}
		if b[i] == ']' {
			return i + 1
		}
	}
}

// change scans one change. Its field and its value may come in any order.
func change(b []byte, i int) int {
	if at(b, i) != '{' {
		return unsure
	}
	var field, value, statuses bool // what was seen
	var slow bool                   // the field is one that is bulk as a whole
	for {
		name, start := member(b, i+1)
		if start < 0 {
			return unsure
		}
		switch {
		case string(name) == "field" && !field:
			field = true
			slow, i = fieldName(b, start)
		case string(name) == "value" && !value:
			value = true
			statuses, i = onlyStatuses(b, start)
		default:
			return unsure
		}
		if i = separator(b, i, '}'); i < 0 {
			return unsure
		}
		if b[i] == '}' {
			if !field || !value || !slow && !statuses {
				return unsure
			}
			return i + 1
		}
	}
}

// fieldName scans the name of a field. Any but those that may be bulk makes the
// whole body unsure.
func fieldName(b []byte, i int) (slow bool, end int) {
	if at(b, i) != '"' {
		return false, unsure
	}
	quote := closingQuote(b, i+1)
	if quote < 0 {
		return false, unsure
	}
	switch string(b[i+1 : quote]) {
	case "history", "smb_app_state_sync":
		return true, quote + 1
	case "messages":
		return false, quote + 1
	}
	return false, unsure
}

// onlyStatuses scans the value of a change, and tells whether it can hold
// statuses alone.
func onlyStatuses(b []byte, i int) (only bool, end int) {
	if at(b, i) != '{' {
		return false, skip(b, i)
	}
	if i = space(b, i+1); at(b, i) == '}' {
		return false, i + 1
	}
	statuses, other := 0, false
	for i--; ; {
		name, value := member(b, i+1)
		if value < 0 {
			return false, unsure
		}
		switch string(name) {
		case "messaging_product", "metadata", "contacts":
		case "statuses":
			statuses++
			other = other || !filledArray(b, value)
		default:
			other = true
		}
		if i = separator(b, skip(b, value), '}'); i < 0 {
			return false, unsure
		}
		if b[i] == '}' {
			return statuses == 1 && !other, i + 1
		}
	}
}

// filledArray reports whether an array with an element starts at i.
func filledArray(b []byte, i int) bool {
	return at(b, i) == '[' && at(b, space(b, i+1)) != ']'
}

// at is the byte at i, NUL beyond the end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// space gives the next place at or after i that holds no white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// separator gives the place of the comma or the closing byte that follows a
// value, unsure where there is neither or where i is.
func separator(b []byte, i int, closing byte) int {
	if i < 0 {
		return unsure
	}
	i = space(b, i)
	if c := at(b, i); c != ',' && c != closing {
		return unsure
	}
	return i
}

// member scans a key and its colon. It returns the key as it is spelt, and the
// place where the value starts.
func member(b []byte, i int) (name []byte, value int) {
	i = space(b, i)
	if at(b, i) != '"' {
		return nil, unsure
	}
	quote := closingQuote(b, i+1)
	if quote < 0 {
		return nil, unsure
	}
	colon := space(b, quote+1)
	if at(b, colon) != ':' {
		return nil, unsure
	}
	return b[i+1 : quote], space(b, colon+1)
}

// closingQuote gives the place of the quote that ends the string whose text
// starts at i.
func closingQuote(b []byte, i int) int {
	n := bytes.IndexByte(b[i:], '"')
	if n > 0 && b[i+n-1] == '\\' {
		return unescapedQuote(b, i, i+n)
	}
	if n < 0 {
		return unsure
	}
	return i + n
}

// unescapedQuote gives the first quote at or after the one at quote that no odd
// number of backslashes stands before.
func unescapedQuote(b []byte, i, quote int) int {
	for {
		first := quote
		for first > i && b[first-1] == '\\' {
			first--
		}
		if (quote-first)%2 == 0 {
			return quote
		}
		n := bytes.IndexByte(b[quote+1:], '"')
		if n < 0 {
			return unsure
		}
		quote += 1 + n
	}
}

// plain are the bytes of JSON outside of strings that neither open nor close.
var plain = func() (table [256]bool) {
	for _, c := range []byte(" \t\r\n,:+-.0123456789eEtrufalsn") {
		table[c] = true
	}
	return table
}()

// scalar are those of a number, true, false or null.
var scalar = func() (table [256]bool) {
	for _, c := range []byte("+-.0123456789eEtrufalsn") {
		table[c] = true
	}
	return table
}()

// skip scans any value; nested deeper than 64 it is unsure.
func skip(b []byte, i int) int {
	switch c := at(b, i); {
	case c == '"':
		if i = closingQuote(b, i+1); i < 0 {
			return unsure
		}
		return i + 1
	case c == '{' || c == '[':
		return skipNested(b, i)
	}
	start := i
	for i < len(b) && scalar[b[i]] {
		i++
	}
	if i == start {
		return unsure
	}
	return i
}

// skipNested scans an object or an array. What opened must be closed by its own
// kind: the stack holds a bit for each, set for an object.
func skipNested(b []byte, i int) int {
	var stack uint64
	depth := 0
	for ; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			if i = closingQuote(b, i+1); i < 0 {
				return unsure
			}
		case '{', '[':
			if depth == 64 {
				return unsure
			}
			stack = stack<<1 | uint64(c>>5&1)
			depth++
		case '}', ']':
			if stack&1 != uint64(c>>5&1) {
				return unsure
			}
			stack >>= 1
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if !plain[c] {
				return unsure
			}
		}
	}
	return unsure
}
