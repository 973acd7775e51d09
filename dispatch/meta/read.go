package meta

import (
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// raw is the value as it stands in the text.
func (t *tape) raw(at ref) []byte {
	n := &t.nodes[at]
	return t.data[n.start:n.end]
}

// present is the value, or 0 where it is null.
func (t *tape) present(at ref) ref {
	if t.nodes[at].kind == null {
		return 0
	}
	return at
}

// empty is true for an array or object without content.
func (t *tape) empty(at ref) bool { return t.nodes[at].next == at+1 }

// count is how many elements an array has.
func (t *tape) count(list ref) int {
	n := 0
	for at := list + 1; at < t.nodes[list].next; at = t.nodes[at].next {
		n++
	}
	return n
}

// member is the value of the object's key, 0 where it is missing or null, or
// where at is no object.
func (t *tape) member(at ref, name string) ref {
	found := ref(0)
	if t.nodes[at].kind != object {
		return 0
	}
	for key := at + 1; key < t.nodes[at].next; key = t.nodes[key+1].next {
		if string(t.text(key)) == name {
			found = t.present(key + 1)
		}
	}
	return found
}

// text is what a string says, without quotes and escapes, in valid UTF-8. It
// must not be changed: most often it lies in the text itself.
func (t *tape) text(at ref) []byte {
	n := &t.nodes[at]
	inner := t.data[n.start+1 : n.end-1]
	if n.escaped {
		return unescape(inner)
	}
	return inner
}

// id is what a field that names something says, and where that stands.
type id struct {
	text []byte
	at   ref
}

// id reads a string or an integer, which Meta uses alike. It has no text where
// there is none, it is empty, or it is anything else.
func (t *tape) id(at ref) id {
	if at == 0 {
		return id{}
	}
	switch t.nodes[at].kind {
	case text:
		if s := t.text(at); len(s) > 0 {
			return id{s, at}
		}
	case integer:
		return id{t.raw(at), at}
	}
	return id{}
}

// phrase reads a string and nothing else.
func (t *tape) phrase(at ref) id {
	if at == 0 || t.nodes[at].kind != text {
		return id{}
	}
	return t.id(at)
}

// lastSecond is the last one that RFC 3339 can write: the end of the year 9999.
const lastSecond = 253402300799

// moment reads Unix seconds, as a string or as an integer. It is zero where
// there are none, and for 0 and what lies before.
func (t *tape) moment(at ref) time.Time {
	digits := t.id(at).text
	if len(digits) == 0 || len(digits) > len("253402300799") {
		return time.Time{}
	}
	seconds := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return time.Time{}
		}
		seconds = seconds*10 + int64(c-'0')
	}
	if seconds == 0 || seconds > lastSecond {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

var shortEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape resolves the escapes of a string that was checked. Half of a
// surrogate pair becomes U+FFFD.
func unescape(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
			i++
		case s[i+1] != 'u':
			out = append(out, shortEscapes[s[i+1]])
			i += 2
		default:
			r := unit(s[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := unit(s[i:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// unit is the value of the \uXXXX that s starts with, -1 where it does not.
func unit(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	r := rune(0)
	for _, c := range s[2:6] {
		r = r<<4 | rune(hexDigit(c))
	}
	return r
}
