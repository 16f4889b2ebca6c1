package call

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// location is the place of a token in a JSON text.
type location struct {
	path  []container // from the outermost to the one with the token
	token []byte
}

// container is an object or an array, and the place in it.
type container struct {
	isArray bool
	index   int    // of the element, from 0; -1: before the first
	key     string // of the member
	isKey   bool   // the last token was the key
	isSet   bool   // there was a key
}

// locate returns the location of the token at offset in text, which is valid JSON.
func locate(text []byte, offset int) location {
	var path []container
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // any number will do
	for {
		start := int(dec.InputOffset())
		start += len(text[start:]) - len(bytes.TrimLeft(text[start:], " \t\r\n,:"))
		token, err := dec.Token()
		if err != nil {
			return location{}
		}
		delim, _ := token.(json.Delim)
		isEnd := delim == '}' || delim == ']'
		if !isEnd && len(path) > 0 {
			path[len(path)-1].next(token)
		}
		end := int(dec.InputOffset())
		if end > offset {
			for len(path) > 0 && !path[len(path)-1].isArray && !path[len(path)-1].isSet {
				path = path[:len(path)-1] // an object without members
			}
			return location{path, text[start:end]}
		}
		switch {
		case isEnd:
			path = path[:len(path)-1]
		case delim != 0:
			path = append(path, container{isArray: delim == '[', index: -1})
		}
	}
}

// next advances to a token that begins a key or a value.
func (c *container) next(token json.Token) {
	if c.isArray {
		c.index++
		return
	}
	if c.isKey = !c.isKey; c.isKey {
		c.key, _ = token.(string)
		c.isSet = true
	}
}

// String returns the path, such as a.list[2].c.
func (l location) String() string {
	var b strings.Builder
	for i, c := range l.path {
		switch {
		case c.isArray:
			b.WriteString("[" + strconv.Itoa(max(c.index, 0)) + "]")
		case i > 0:
			b.WriteString("." + c.key)
		default:
			b.WriteString(c.key)
		}
	}
	return b.String()
}

// prefix returns the path for the beginning of an error.
func (l location) prefix() string {
	if len(l.path) == 0 {
		return ""
	}
	return strconv.Quote(l.String()) + ": "
}

// found returns the token for the end of an error.
func (l location) found() string {
	const maxToken = 60
	switch token := string(l.token); {
	case token == "{":
		return ", not an object"
	case token == "[":
		return ", not a list"
	case len(token) > maxToken:
		return ", not " + strings.ToValidUTF8(token[:maxToken], "") + "…"
	default:
		return ", not " + token
	}
}

// name returns the key of the member.
func (l location) name() string { return l.path[len(l.path)-1].key }

// siblings returns the names of the fields that the object may have.
func (l location) siblings(md protoreflect.MessageDescriptor) (names []string) {
	if outer := l.path[:len(l.path)-1]; len(outer) > 0 {
		fd, _ := location{path: outer}.field(md)
		if fd == nil || fd.Message() == nil {
			return nil
		}
		md = fd.Message()
	}
	for _, f := range Fields(md) {
		names = append(names, f.Name)
	}
	return names
}

// field returns the field of md at the location, nil if it isn't known. It reports whether
// the location is in an element of a list or in a value of a map.
func (l location) field(md protoreflect.MessageDescriptor) (fd protoreflect.FieldDescriptor, isElement bool) {
	for _, c := range l.path {
		switch {
		case c.isArray && (fd == nil || !fd.IsList() || isElement):
			return nil, false
		case c.isArray:
			isElement = true
		case fd != nil && fd.IsMap():
			fd, isElement = fd.MapValue(), true
		default:
			if fd != nil {
				if md = fd.Message(); md == nil || fd.IsList() && !isElement || md.FullName().Parent() == "google.protobuf" {
					return nil, false
				}
			}
			if fd, isElement = fieldByName(md, c.key), false; fd == nil {
				return nil, false
			}
		}
	}
	return fd, isElement
}

// fieldByName returns the field with a JSON or proto name, nil if there is none.
func fieldByName(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByTextName(name)
}
