// Package escape makes text from a peer fit for a terminal, a log or a JSON document:
// it escapes the characters that a terminal interprets or hides, and masks the secrets
// that the peer repeats.
//
//	fmt.Fprintln(os.Stderr, "closed by peer: "+escape.Line(secrets.Mask(reason)))
//
// Escaped are control characters (C0, DEL and C1), format characters (bidirectional
// controls, zero-width characters, tags, and others without a glyph of their own),
// variation selectors, the line and paragraph separators, and bytes that aren't UTF-8.
// Tabs stay.
//
// Both functions are idempotent: text without such characters is returned unchanged, and
// the result of either is such a text. No idempotent function is lossless for all texts,
// because it returns its results unchanged, too. [Line] comes as close as possible: the
// only text with the same result as a text that needs escapes is that result itself.
//
// The functions may be called from any goroutine, and take linear time.
package escape

import (
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns s as one line. If s has line breaks or other characters to escape, the
// result is s as in a Go string literal, such as `C:\\Windows\x1b[2J\u202e`, with
// quotation marks unescaped. Otherwise the result is s, even if s has backslashes.
func Line(s string) string {
	return escape(s, func(c rune) bool { return c == '\n' || isHidden(c) }, appendLine)
}

// Text is for a text whose backslashes already begin escapes, such as JSON, .proto source
// and the text format of messages. It writes `\u202e` in place of a character, with
// surrogate pairs as in JSON (RFC 8259 §7), and `\xff` for a byte that isn't UTF-8. It
// keeps line breaks and backslashes. In string literals, and in JSON without carriage
// returns between its tokens, the values stay equal.
func Text(s string) string { return escape(s, isHidden, appendText) }

// escape returns s. If any character fulfils hidden, it appends all with the given
// function. A byte that isn't UTF-8 is passed as a negative number.
func escape(s string, hidden func(rune) bool, appendChar func(b []byte, c rune) []byte) string {
	begin := 0
	for begin < len(s) {
		if ' ' <= s[begin] && s[begin] < 0x7f { // most characters
			begin++
			continue
		}
		c, n := decode(s[begin:])
		if hidden(c) {
			break
		}
		begin += n
	}
	if begin == len(s) {
		return s
	}
	b := make([]byte, 0, len(s)+len(s)/4+16)
	for i := 0; i < len(s); {
		c, n := decode(s[i:])
		b = appendChar(b, c)
		i += n
	}
	return string(b)
}

// decode returns the first character of s and its length. A byte that isn't UTF-8 is
// returned as a negative number.
func decode(s string) (c rune, n int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	c, n = utf8.DecodeRuneInString(s)
	if c == utf8.RuneError && n == 1 {
		c = -rune(s[0])
	}
	return c, n
}

// isHidden reports whether c must be escaped, also in text of several lines.
func isHidden(c rune) bool {
	switch {
	case c == '\t', c == '\n':
		return false
	case c < ' ':
		return true
	case c < 0x7f:
		return false
	case c <= 0x9f:
		return true
	}
	return unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// appendLine appends c for Line.
func appendLine(b []byte, c rune) []byte {
	switch {
	case c == '\\':
		return append(b, `\\`...)
	case c == '\n':
		return append(b, `\n`...)
	case c == '\r':
		return append(b, `\r`...)
	case !isHidden(c):
		return utf8.AppendRune(b, c)
	case c < utf8.RuneSelf:
		return fmt.Appendf(b, `\x%02x`, max(c, -c))
	case c <= 0xffff:
		return fmt.Appendf(b, `\u%04x`, c)
	}
	return fmt.Appendf(b, `\U%08x`, c)
}

// appendText appends c for Text.
func appendText(b []byte, c rune) []byte {
	switch {
	case !isHidden(c):
		return utf8.AppendRune(b, c)
	case c < 0:
		return fmt.Appendf(b, `\x%02x`, -c)
	case c <= 0xffff:
		return fmt.Appendf(b, `\u%04x`, c)
	}
	high, low := utf16.EncodeRune(c)
	return fmt.Appendf(b, `\u%04x\u%04x`, high, low)
}
