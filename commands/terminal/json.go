package terminal

import "strings"

// JSON colors the names, strings and nulls of JSON values.
func (cs Colors) JSON(text string) string {
	if !cs.on {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + len(text)/2)
	for text != "" {
		n := strings.IndexAny(text, `"n`)
		if n < 0 {
			n = len(text)
		}
		b.WriteString(text[:n])
		text = text[n:]
		switch {
		case strings.HasPrefix(text, `"`):
			n = stringLength(text)
			c := Green
			if strings.HasPrefix(strings.TrimLeft(text[n:], " "), ":") {
				c = Blue
			}
			b.WriteString(cs.Paint(c, text[:n]))
		case strings.HasPrefix(text, "null"):
			n = len("null")
			b.WriteString(cs.Paint(Dim, text[:n]))
		default:
			n = min(1, len(text))
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

// stringLength returns the length of the JSON string at the beginning of text.
func stringLength(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
