package netdiag

import (
	"strings"
	"unicode"
)

// Printable returns s as one line that is safe on a terminal, truncated to limit
// characters. It replaces white space by spaces, and removes control characters,
// characters that change the text direction, and invalid UTF-8.
func Printable(s string, limit int) string {
	return Truncate(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "")), limit)
}

// Line is Printable for the first line of s that isn't blank.
func Line(s string, limit int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return Truncate(strings.TrimSpace(Printable(s, len(s))), limit)
}

// Truncate returns s if it has at most limit characters, and otherwise its first limit
// characters and "…".
func Truncate(s string, limit int) string {
	for i := range s {
		if limit == 0 {
			return s[:i] + "…"
		}
		limit--
	}
	return s
}
