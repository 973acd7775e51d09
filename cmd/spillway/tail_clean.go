package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// ellipsis ends what was shortened.
const ellipsis = "…"

// clean makes a text of anybody's fit for one line of a terminal: what is no
// visible character, such as an escape sequence, a line break or a bidirectional
// override, comes out as JSON writes it, and what is not UTF-8 as U+FFFD. At most
// limit characters are kept, and an ellipsis tells that there were more.
func clean(text string, limit int) string {
	var b strings.Builder
	left := limit
	for _, r := range text {
		shown := string(r)
		switch {
		case unicode.Is(unicode.Zs, r):
			shown = " "
		case !isVisible(r):
			shown = escaped(r)
		}
		if left -= utf8.RuneCountInString(shown); left < 0 {
			b.WriteString(ellipsis)
			break
		}
		b.WriteString(shown)
	}
	return b.String()
}

// cleanJSON escapes in JSON what a terminal may obey. There, such characters
// stand in strings alone, so that it means the same.
func cleanJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\n' || isVisible(r) || unicode.Is(unicode.Zs, r) {
			b.WriteRune(r)
		} else {
			b.WriteString(escaped(r))
		}
	}
	return b.String()
}

// isVisible is true for what a terminal shows and does not obey. The joiners have
// no shape of their own, but emoji and Indic scripts fall apart without them.
func isVisible(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return strconv.IsPrint(r) || r == nonJoiner || r == joiner
}

// escaped is a character as JSON writes it in ASCII.
func escaped(r rune) string {
	switch r {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	return fmt.Sprintf(`\u%04x`, r)
}
