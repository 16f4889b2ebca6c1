package netdiag

import (
	"strings"

	"github.com/wstun/wstun/tunnel/escape"
)

// Line returns the first line of s that isn't blank, escaped as by [escape.Line] and
// truncated to limit characters.
func Line(s string, limit int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return Truncate(escape.Line(strings.TrimSpace(s)), limit)
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
