package shell

import (
	"encoding/json"
	"slices"
	"strings"
)

// jsonCursor is the position of the cursor at the end of an incomplete JSON text.
type jsonCursor struct {
	top     bool     // outside any value
	key     bool     // in the name of a field; otherwise in a value
	path    []string // names of the fields whose values enclose it, outermost first
	field   string   // the field whose value it is in
	element bool     // in an element of a list
	used    []string // names that the innermost object has already
	typed   string   // the incomplete name or value before the cursor, with its quote
	start   int      // offset of typed in the text
}

// container is an object or a list that isn't closed.
type container struct {
	object bool
	name   string // of the last field, in an object
	named  bool   // the name and its colon are complete
	used   []string
}

// findCursor parses text up to its end, which is the cursor. It returns false if text
// isn't the beginning of JSON messages, or if only punctuation can follow.
func findCursor(text string) (jsonCursor, bool) {
	var open []container    // outermost first
	start, ready := 0, true // ready: a name or a value may follow
	for i := 0; i < len(text); {
		in := &container{}
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			if len(open) == 0 {
				ready = true // for another message
			}
		case c == ',' && len(open) > 0 && !ready && in.object == in.named:
			i++
			in.named, ready = false, true
		case c == ':' && in.object && !in.named && !ready:
			i++
			in.named, ready = true, true
		case (c == '}' || c == ']') && len(open) > 0 && in.object == (c == '}'):
			i++
			open, ready = open[:len(open)-1], false
		case !ready || in.object && !in.named && c != '"', strings.IndexByte(",:}]", c) >= 0:
			return jsonCursor{}, false
		case c == '{' || c == '[':
			i++
			open = append(open, container{object: c == '{'})
		default:
			n, complete := scalar(text[i:])
			if !complete {
				return cursorIn(open, text, i), true
			}
			if in.object && !in.named {
				if json.Unmarshal([]byte(text[i:i+n]), &in.name) != nil {
					return jsonCursor{}, false
				}
				in.used = append(in.used, in.name)
			}
			i += n
			ready = false
		}
		start = i
	}
	return cursorIn(open, text, start), ready
}

// scalar returns the length of the string, number or literal that text, which isn't
// empty, begins with. It returns false if text ends before that is complete.
func scalar(text string) (int, bool) {
	if text[0] != '"' {
		n := strings.IndexAny(text, " \t\r\n,:{}[]\"")
		return n, n > 0
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1, true
		}
	}
	return 0, false
}

// cursorIn returns the cursor at the end of text, inside the open containers. The
// incomplete name or value begins at start.
func cursorIn(open []container, text string, start int) jsonCursor {
	cur := jsonCursor{top: len(open) == 0, typed: text[start:], start: start}
	if cur.top {
		return cur
	}
	in := open[len(open)-1]
	cur.key, cur.used, cur.field = in.object && !in.named, slices.Clone(in.used), in.name
	for i, c := range open[:len(open)-1] {
		switch {
		case c.object && open[i+1].object:
			cur.path = append(cur.path, c.name)
		case c.object && i+2 < len(open): // in an element of a list
			cur.path = append(cur.path, c.name)
		case c.object:
			cur.field = c.name
		}
	}
	cur.element = !in.object
	return cur
}
