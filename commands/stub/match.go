package stub

import (
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/commands/yamlfile"
)

// A matcher reports whether a message matches.
type matcher func(protoreflect.Message) bool

// A valueMatcher reports whether the value of a field, or an element of it, matches.
type valueMatcher func(protoreflect.Value) bool

// when parses the condition of a rule. It never returns nil.
func (p *parser) when(n *yamlfile.Node, md protoreflect.MessageDescriptor) matcher {
	want := dynamicpb.NewMessage(md)
	if !p.unmarshal(n, want, "when", true) {
		return func(protoreflect.Message) bool { return false }
	}
	return p.matchMessage(n, want)
}

// matchMessage matches the fields that n has. want is the message parsed from n.
func (p *parser) matchMessage(n *yamlfile.Node, want protoreflect.Message) matcher {
	md := want.Descriptor()
	if hasOwnJSON(md) || n.Kind != yaml.MappingNode {
		return func(got protoreflect.Message) bool {
			return protoreflect.ValueOfMessage(want).Equal(protoreflect.ValueOfMessage(got))
		}
	}
	var all []matcher
	for _, f := range n.Fields {
		fd := md.Fields().ByJSONName(f.Key)
		if fd == nil {
			fd = md.Fields().ByTextName(f.Key)
		}
		switch {
		case fd == nil: // n parsed, so it can only be an extension
			p.Errorf(f.Line, "when cannot match the extension %s", yamlfile.Quote(f.Key))
		case f.Value.IsNull() && !want.Has(fd):
			all = append(all, func(got protoreflect.Message) bool { return !got.Has(fd) })
		default:
			match, presence := p.matchField(f.Value, fd, want.Get(fd)), fd.HasPresence()
			all = append(all, func(got protoreflect.Message) bool {
				return (!presence || got.Has(fd)) && match(got.Get(fd))
			})
		}
	}
	return func(got protoreflect.Message) bool {
		for _, match := range all {
			if !match(got) {
				return false
			}
		}
		return true
	}
}

// matchField matches the value of a field.
func (p *parser) matchField(n *yamlfile.Node, fd protoreflect.FieldDescriptor, want protoreflect.Value) valueMatcher {
	switch {
	case fd.IsMap():
		return p.matchMap(n, fd, want.Map())
	case fd.IsList():
		return p.matchList(n, fd, want.List())
	default:
		return p.matchValue(n, fd, want)
	}
}

// matchValue matches a single value.
func (p *parser) matchValue(n *yamlfile.Node, fd protoreflect.FieldDescriptor, want protoreflect.Value) valueMatcher {
	if fd.Message() == nil {
		return want.Equal
	}
	match := p.matchMessage(n, want.Message())
	return func(got protoreflect.Value) bool { return match(got.Message()) }
}

// matchList matches lists of the same length, element by element.
func (p *parser) matchList(n *yamlfile.Node, fd protoreflect.FieldDescriptor, want protoreflect.List) valueMatcher {
	var all []valueMatcher
	for i := range want.Len() {
		all = append(all, p.matchValue(n.Items[i], fd, want.Get(i)))
	}
	return func(got protoreflect.Value) bool {
		list := got.List()
		if list.Len() != len(all) {
			return false
		}
		for i, match := range all {
			if !match(list.Get(i)) {
				return false
			}
		}
		return true
	}
}

// matchMap matches maps with at least the entries of n.
func (p *parser) matchMap(n *yamlfile.Node, fd protoreflect.FieldDescriptor, want protoreflect.Map) valueMatcher {
	nodes := make(map[string]*yamlfile.Node)
	for _, f := range n.Fields {
		nodes[f.Key] = f.Value
	}
	type entry struct {
		key   protoreflect.MapKey
		match valueMatcher
	}
	var all []entry
	want.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		match := value.Equal
		if n := nodes[key.String()]; n != nil { // nil if the key isn't in canonical form, such as +1
			match = p.matchValue(n, fd.MapValue(), value)
		}
		all = append(all, entry{key, match})
		return true
	})
	return func(got protoreflect.Value) bool {
		entries := got.Map()
		for _, e := range all {
			if !entries.Has(e.key) || !e.match(entries.Get(e.key)) {
				return false
			}
		}
		return true
	}
}
