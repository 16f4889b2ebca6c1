package netdiag

import (
	"strings"
	"unicode"
)

// Printable returns s as one line that is safe on a terminal, cut after most
// characters. White space becomes spaces. Control characters, characters that
// change the direction of writing, and invalid UTF-8 are left out.
func Printable(s string, most int) string {
	return Cut(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "")), most)
}

// Line is Printable of the first line of s that isn't blank.
func Line(s string, most int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return Cut(strings.TrimSpace(Printable(s, len(s))), most)
}

// Cut returns the first characters of s, at most most of them, and "…" where it
// left out the rest.
func Cut(s string, most int) string {
	for i := range s {
		if most == 0 {
			return s[:i] + "…"
		}
		most--
	}
	return s
}
