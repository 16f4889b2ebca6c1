package shell

import (
	"encoding/json"
	"slices"
	"strings"
)

// place is where in a JSON text somebody types.
type place struct {
	top     bool     // outside of any value
	key     bool     // in the name of a field; otherwise in a value
	path    []string // names of the objects around it, the outermost first
	field   string   // whose value it is
	element bool     // it is one of a list
	used    []string // names that the object has already
	typed   string   // so far, from the quote on
	start   int      // where that begins
}

// within is an object or a list that text ends in.
type within struct {
	object bool
	name   string // the last one in an object
	named  bool   // and its colon has come
	used   []string
}

// locate finds the place where text ends; false if nothing can be put there but
// punctuation, or it is no JSON.
func locate(text string) (place, bool) {
	var around []within
	start, ready := 0, true // ready: a name or a value may begin
	for i := 0; i < len(text); {
		in := &within{}
		if len(around) > 0 {
			in = &around[len(around)-1]
		}
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			if len(around) == 0 {
				ready = true // another message
			}
		case c == ',' && len(around) > 0 && !ready && in.object == in.named:
			i++
			in.named, ready = false, true
		case c == ':' && in.object && !in.named && !ready:
			i++
			in.named, ready = true, true
		case (c == '}' || c == ']') && len(around) > 0 && in.object == (c == '}'):
			i++
			around, ready = around[:len(around)-1], false
		case !ready || in.object && !in.named && c != '"', strings.IndexByte(",:}]", c) >= 0:
			return place{}, false
		case c == '{' || c == '[':
			i++
			around = append(around, within{object: c == '{'})
		default:
			n, whole := scalar(text[i:])
			if !whole {
				return at(around, text, i), true
			}
			if in.object && !in.named {
				if json.Unmarshal([]byte(text[i:i+n]), &in.name) != nil {
					return place{}, false
				}
				in.used = append(in.used, in.name)
			}
			i += n
			ready = false
		}
		start = i
	}
	return at(around, text, start), ready
}

// scalar returns the length of the string, number or word that text begins with, and
// whether its end is there.
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

// at is the place where text ends, inside of around.
func at(around []within, text string, start int) place {
	p := place{top: len(around) == 0, typed: text[start:], start: start}
	if p.top {
		return p
	}
	in := around[len(around)-1]
	p.key, p.used, p.field = in.object && !in.named, slices.Clone(in.used), in.name
	for i, w := range around[:len(around)-1] {
		switch {
		case w.object && around[i+1].object:
			p.path = append(p.path, w.name)
		case w.object && i+2 < len(around): // in an element of a list
			p.path = append(p.path, w.name)
		case w.object:
			p.field = w.name
		}
	}
	p.element = !in.object
	return p
}
