package meta

import "strconv"

// A tape is a JSON text checked against RFC 8259 and indexed: one node a value
// and one a key, in the order of the text.
//
//	{"id":7,"tags":["a"]}
//	 node   0       1    2  3       4      5
//	 value  {…}     "id" 7  "tags"  ["a"]  "a"
//	 next   6       2    3  4       6      6
//
// The members of an object follow it as key, value, key, value; the elements of
// an array follow it one after another. next is the node behind all of them.
type tape struct {
	data  []byte
	nodes []node
	// spaced is true where there is white space between the tokens.
	spaced bool
	fault  string
}

// ref is a node's index. 0, which is the root, stands for no value at all where
// a member of an object is meant.
type ref = uint32

const root ref = 0

type node struct {
	// data[start:end] is the value; of a string with its quotes.
	start, end uint32
	next       ref
	kind       kind
	// escaped is true for a string that holds a backslash.
	escaped bool
}

type kind uint8

const (
	null kind = iota
	boolean
	integer // a number without fraction and exponent
	number  // any other number
	text
	array
	object
)

// maxDepth is how deeply arrays and objects may be nested. Meta's webhooks have
// about 15 levels.
const maxDepth = 512

// parse indexes data. It returns what is wrong with it, and "" where nothing is.
func (t *tape) parse(data []byte) (fault string) {
	t.data, t.nodes, t.spaced, t.fault = data, t.nodes[:0], false, ""
	_, at := t.token(0)
	if at = t.value(at, 0); at < 0 {
		return t.fault
	}
	if _, at = t.token(at); at < len(data) {
		t.fail("text after the end", at)
	}
	return t.fault
}

// fail notes the fault and returns -1, which all parsing methods pass on.
func (t *tape) fail(what string, at int) int {
	if at >= len(t.data) {
		what = "ends early"
	}
	t.fault = "not JSON: " + what + " at byte " + strconv.Itoa(at)
	return -1
}

// token skips white space. It returns the byte after it and where that is; 0,
// which no token starts with, at the end.
func (t *tape) token(at int) (byte, int) {
	for ; at < len(t.data); at++ {
		switch c := t.data[at]; c {
		case ' ', '\t', '\r', '\n':
			t.spaced = true
		default:
			return c, at
		}
	}
	return 0, at
}

// value reads the value that starts at a byte and returns the byte behind it.
func (t *tape) value(at, depth int) int {
	if at >= len(t.data) {
		return t.fail("", at)
	}
	switch c := t.data[at]; c {
	case '"':
		return t.string(at)
	case '{', '[':
		if depth == maxDepth {
			t.fault = "nested deeper than " + strconv.Itoa(maxDepth) + " levels"
			return -1
		}
		if c == '{' {
			return t.object(at, depth+1)
		}
		return t.array(at, depth+1)
	case 't':
		return t.literal(at, "true", boolean)
	case 'f':
		return t.literal(at, "false", boolean)
	case 'n':
		return t.literal(at, "null", null)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return t.number(at)
	}
	return t.fail("no value", at)
}

func (t *tape) object(start, depth int) int {
	self := t.open(start, object)
	c, at := t.token(start + 1)
	if c == '}' {
		return t.close(self, at+1)
	}
	for {
		if c != '"' {
			return t.fail("no key", at)
		}
		if at = t.string(at); at < 0 {
			return -1
		}
		if c, at = t.token(at); c != ':' {
			return t.fail("no colon", at)
		}
		_, at = t.token(at + 1)
		if at = t.value(at, depth); at < 0 {
			return -1
		}
		switch c, at = t.token(at); c {
		case ',':
			c, at = t.token(at + 1)
		case '}':
			return t.close(self, at+1)
		default:
			return t.fail("no comma or end of object", at)
		}
	}
}

func (t *tape) array(start, depth int) int {
	self := t.open(start, array)
	c, at := t.token(start + 1)
	if c == ']' {
		return t.close(self, at+1)
	}
	for {
		if at = t.value(at, depth); at < 0 {
			return -1
		}
		switch c, at = t.token(at); c {
		case ',':
			_, at = t.token(at + 1)
		case ']':
			return t.close(self, at+1)
		default:
			return t.fail("no comma or end of array", at)
		}
	}
}

func (t *tape) open(start int, k kind) ref {
	t.nodes = append(t.nodes, node{start: uint32(start), kind: k})
	return ref(len(t.nodes) - 1)
}

func (t *tape) close(self ref, end int) int {
	t.nodes[self].end = uint32(end)
	t.nodes[self].next = ref(len(t.nodes))
	return end
}

// leaf adds a value that holds no others.
func (t *tape) leaf(start, end int, k kind, escaped bool) int {
	t.nodes = append(t.nodes, node{
		start: uint32(start), end: uint32(end),
		next: ref(len(t.nodes) + 1), kind: k, escaped: escaped,
	})
	return end
}

func (t *tape) literal(start int, word string, k kind) int {
	for i := range len(word) {
		if at := start + i; at >= len(t.data) || t.data[at] != word[i] {
			return t.fail("no value", at)
		}
	}
	return t.leaf(start, start+len(word), k, false)
}

func (t *tape) number(start int) int {
	at, k := start, integer
	if t.data[at] == '-' {
		at++
	}
	digits := t.digits(at)
	if digits == at || t.data[at] == '0' && digits > at+1 {
		return t.fail("bad number", at)
	}
	at = digits
	if at < len(t.data) && t.data[at] == '.' {
		k = number
		if digits = t.digits(at + 1); digits == at+1 {
			return t.fail("bad number", digits)
		}
		at = digits
	}
	if at < len(t.data) && (t.data[at] == 'e' || t.data[at] == 'E') {
		k = number
		at++
		if at < len(t.data) && (t.data[at] == '+' || t.data[at] == '-') {
			at++
		}
		if digits = t.digits(at); digits == at {
			return t.fail("bad number", at)
		}
		at = digits
	}
	return t.leaf(start, at, k, false)
}

func (t *tape) digits(at int) int {
	for at < len(t.data) && t.data[at]-'0' <= 9 {
		at++
	}
	return at
}

// plain are the bytes that stand for themselves in a string.
var plain = func() (table [256]bool) {
	for c := range table {
		table[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return table
}()

func (t *tape) string(start int) int {
	data, escaped := t.data, false
	for at := start + 1; at < len(data); {
		c := data[at]
		if plain[c] {
			at++
			continue
		}
		switch c {
		case '"':
			return t.leaf(start, at+1, text, escaped)
		case '\\':
			escaped = true
			if at = t.escape(at); at < 0 {
				return -1
			}
		default:
			return t.fail("control character in a string", at)
		}
	}
	return t.fail("", len(data))
}

// escape checks the escape that starts with the backslash at a byte.
func (t *tape) escape(at int) int {
	if at+1 >= len(t.data) {
		return t.fail("", len(t.data))
	}
	switch t.data[at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 2
	case 'u':
		for i := at + 2; i < at+6; i++ {
			if i >= len(t.data) || hexDigit(t.data[i]) < 0 {
				return t.fail("bad escape", i)
			}
		}
		return at + 6
	}
	return t.fail("bad escape", at+1)
}

// hexDigit is the value of a hex digit of either case, -1 for any other byte.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
