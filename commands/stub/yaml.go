package stub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// A node is a value in the file, with aliases and merge keys resolved.
type node struct {
	kind   yaml.Kind // ScalarNode, SequenceNode or MappingNode
	line   int
	tag    string  // of a scalar: !!str, !!int, …
	text   string  // of a scalar
	items  []*node // of a sequence
	fields []field // of a mapping, with unique keys
}

// A field is an entry of a mapping.
type field struct {
	key   string
	line  int
	value *node
}

// get returns the value of key, nil if there is none.
func (n *node) get(key string) *node {
	if i := slices.IndexFunc(n.fields, func(f field) bool { return f.key == key }); i >= 0 {
		return n.fields[i].value
	}
	return nil
}

func (n *node) isNull() bool { return n.kind == yaml.ScalarNode && n.tag == "!!null" }

// describe describes n in an error.
func (n *node) describe() string {
	switch {
	case n.kind == yaml.MappingNode:
		return "a mapping"
	case n.kind == yaml.SequenceNode:
		return "a list"
	case n.isNull():
		return "nothing"
	default:
		return quote(n.text)
	}
}

// document parses text, which must contain one document, and returns its root, nil after
// an error.
func (p *parser) document(text []byte) *node {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		p.syntax(text, err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		p.errorf(1, "the file is empty")
		return nil
	} else if err != nil {
		p.syntax(text, err)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		p.errorf(max(second.Line, 1), "the file has a second document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(text, err)
		return nil
	}
	r := resolver{parser: p, open: make(map[*yaml.Node]bool)}
	root := r.resolve(doc.Content[0])
	if len(p.errs) > 0 {
		return nil
	}
	return root
}

// syntax records an error of the YAML library.
func (p *parser) syntax(text []byte, err error) {
	line, message := 0, err.Error()
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		line, message = le.Mark.Line, le.Message
		if from := le.ContextMark.Line; le.ContextMsg != "" && 0 < from && from < line {
			message += fmt.Sprintf(", %s from line %d", le.ContextMsg, from)
		}
		if tabIndents(text, line) {
			message = "indent with spaces, not tabs"
		}
	}
	if line == 0 { // for a character that YAML doesn't allow
		bad := bytes.IndexFunc(text, func(r rune) bool {
			return r == utf8.RuneError || unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r)
		})
		line = 1 + bytes.Count(text[:max(bad, 0)], []byte("\n"))
	}
	p.errorf(line, "%s", truncate(message))
}

// tabIndents reports whether the indentation of a line contains a tab.
func tabIndents(text []byte, line int) bool {
	lines := bytes.SplitN(text, []byte("\n"), line+1)
	if line < 1 || line > len(lines) {
		return false
	}
	indented := lines[line-1]
	return bytes.ContainsRune(indented[:len(indented)-len(bytes.TrimLeft(indented, " \t"))], '\t')
}

// A resolver converts the nodes of the YAML library.
type resolver struct {
	*parser
	open map[*yaml.Node]bool // the anchors whose aliases contain the current node
}

// resolve returns the node for y, nil after an error.
func (r *resolver) resolve(y *yaml.Node) *node {
	if r.full() {
		return nil
	}

	n := &node{kind: y.Kind, line: y.Line, tag: y.ShortTag(), text: y.Value}
	switch y.Kind {
	case yaml.AliasNode:
		if r.open[y.Alias] {
			r.errorf(y.Line, "alias *%s is inside its own anchor", truncate(y.Value))
			return nil
		}
		r.open[y.Alias] = true
		n = r.resolve(y.Alias)
		delete(r.open, y.Alias)
	case yaml.SequenceNode:
		r.checkTag(y, "!!seq")
		n.items = make([]*node, 0, len(y.Content))
		for _, item := range y.Content {
			if item := r.resolve(item); item != nil {
				n.items = append(n.items, item)
			}
		}
	case yaml.MappingNode:
		r.checkTag(y, "!!map")
		r.mapping(n, y)
	default:
		r.checkTag(y, "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary", "!!merge")
	}
	return n
}

// mapping adds the entries of y to n, those that it merges last.
func (r *resolver) mapping(n *node, y *yaml.Node) {
	var merged []*node
	lines := make(map[string]int)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := r.resolve(y.Content[i])
		value := r.resolve(y.Content[i+1])
		if key == nil || value == nil {
			continue
		}
		switch line, twice := lines[key.text]; {
		case key.kind != yaml.ScalarNode || key.isNull():
			r.errorf(key.line, "a key must be a string, not %s", key.describe())
		case key.tag == "!!merge" && value.kind == yaml.SequenceNode:
			merged = append(merged, value.items...)
		case key.tag == "!!merge":
			merged = append(merged, value)
		case twice:
			r.errorf(key.line, "duplicate key %s, first on line %d", quote(key.text), line)
		default:
			lines[key.text] = key.line
			n.fields = append(n.fields, field{key.text, key.line, value})
		}
	}
	for _, m := range merged {
		if m.kind != yaml.MappingNode {
			r.errorf(m.line, "<< merges mappings, not %s", m.describe())
		}
		for _, f := range m.fields {
			if lines[f.key] == 0 {
				lines[f.key] = f.line
				n.fields = append(n.fields, f)
			}
		}
	}
}

// checkTag records a mistake if the tag of y isn't one of tags.
func (r *resolver) checkTag(y *yaml.Node, tags ...string) {
	if tag := y.ShortTag(); !slices.Contains(tags, tag) {
		r.errorf(y.Line, "tag %s is not supported here", quote(tag))
	}
}
