package yamlfile

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

// A Node is a value in the file, with aliases and merge keys resolved.
type Node struct {
	Kind   yaml.Kind // ScalarNode, SequenceNode or MappingNode
	Line   int
	Tag    string  // of a scalar: !!str, !!int, …
	Text   string  // of a scalar
	Items  []*Node // of a sequence
	Fields []Field // of a mapping, with unique keys
}

// A Field is an entry of a mapping.
type Field struct {
	Key   string
	Line  int
	Value *Node
}

// Get returns the value of key, nil if there is none.
func (n *Node) Get(key string) *Node {
	if i := slices.IndexFunc(n.Fields, func(f Field) bool { return f.Key == key }); i >= 0 {
		return n.Fields[i].Value
	}
	return nil
}

// IsNull reports whether n is the scalar null, or nothing at all.
func (n *Node) IsNull() bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// Bool returns the value of a scalar with the tag !!bool; ok is false for other nodes.
func (n *Node) Bool() (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		return false, false
	}
	switch strings.ToLower(n.Text) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// Describe describes n in an error.
func (n *Node) Describe() string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.IsNull():
		return "nothing"
	default:
		return Quote(n.Text)
	}
}

// Parse parses text, which must contain at most one document, and returns its root: nil for
// an empty file and after a mistake.
func (f *File) Parse(text []byte) *Node {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		f.syntax(text, err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil
	} else if err != nil {
		f.syntax(text, err)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		f.Errorf(max(second.Line, 1), "the file has a second document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		f.syntax(text, err)
		return nil
	}
	r := resolver{File: f, open: make(map[*yaml.Node]bool)}
	root := r.resolve(doc.Content[0])
	if len(f.mistakes) > 0 {
		return nil
	}
	return root
}

// syntax records an error of the YAML library.
func (f *File) syntax(text []byte, err error) {
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
	f.Errorf(line, "%s", Truncate(message))
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
	*File
	open map[*yaml.Node]bool // the anchors whose aliases contain the current node
}

// resolve returns the node for y, nil after an error.
func (r *resolver) resolve(y *yaml.Node) *Node {
	if r.Full() {
		return nil
	}

	n := &Node{Kind: y.Kind, Line: y.Line, Tag: y.ShortTag(), Text: y.Value}
	switch y.Kind {
	case yaml.AliasNode:
		if r.open[y.Alias] {
			r.Errorf(y.Line, "alias *%s is inside its own anchor", Truncate(y.Value))
			return nil
		}
		r.open[y.Alias] = true
		n = r.resolve(y.Alias)
		delete(r.open, y.Alias)
	case yaml.SequenceNode:
		r.checkTag(y, "!!seq")
		n.Items = make([]*Node, 0, len(y.Content))
		for _, item := range y.Content {
			if item := r.resolve(item); item != nil {
				n.Items = append(n.Items, item)
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
func (r *resolver) mapping(n *Node, y *yaml.Node) {
	var merged []*Node
	lines := make(map[string]int)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := r.resolve(y.Content[i])
		value := r.resolve(y.Content[i+1])
		if key == nil || value == nil {
			continue
		}
		switch line, twice := lines[key.Text]; {
		case key.Kind != yaml.ScalarNode || key.IsNull():
			r.Errorf(key.Line, "a key must be a string, not %s", key.Describe())
		case key.Tag == "!!merge" && value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Items...)
		case key.Tag == "!!merge":
			merged = append(merged, value)
		case twice:
			r.Errorf(key.Line, "duplicate key %s, first on line %d", Quote(key.Text), line)
		default:
			lines[key.Text] = key.Line
			n.Fields = append(n.Fields, Field{key.Text, key.Line, value})
		}
	}
	for _, m := range merged {
		if m.Kind != yaml.MappingNode {
			r.Errorf(m.Line, "<< merges mappings, not %s", m.Describe())
		}
		for _, f := range m.Fields {
			if lines[f.Key] == 0 {
				lines[f.Key] = f.Line
				n.Fields = append(n.Fields, f)
			}
		}
	}
}

// checkTag records a mistake if the tag of y isn't one of tags.
func (r *resolver) checkTag(y *yaml.Node, tags ...string) {
	if tag := y.ShortTag(); !slices.Contains(tags, tag) {
		r.Errorf(y.Line, "tag %s is not supported here", Quote(tag))
	}
}
