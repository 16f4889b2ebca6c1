package stub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/reflection/suggest"
	"github.com/wstun/wstun/reflection/types"
)

// maxErrors bounds the mistakes that are reported at once.
const maxErrors = 10

// A parser turns a file into methods, or into errors.
type parser struct {
	name    string
	files   *protoregistry.Files
	types   types.Resolver
	methods map[string]*method
	errs    []mistake
	stop    bool // after the last of errs, parsing on is pointless
}

// A mistake is an error with the line it is on.
type mistake struct {
	line int
	text string
}

// errorf reports a mistake.
func (p *parser) errorf(line int, format string, args ...any) {
	if !p.full() {
		p.errs = append(p.errs, mistake{line, fmt.Sprintf(format, args...)})
	}
}

// full reports whether no more mistakes are wanted.
func (p *parser) full() bool { return p.stop || len(p.errs) >= maxErrors }

// mistakes returns the errors, in the file's order.
func (p *parser) mistakes() []error {
	slices.SortStableFunc(p.errs, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, m := range p.errs {
		errs = append(errs, fmt.Errorf("%s:%d: %s", p.name, m.line, m.text))
	}
	return errs
}

// file parses the whole file.
func (p *parser) file(text []byte) {
	root := p.document(text)
	if root == nil || !p.mapping(root, "the file", "methods") {
		return
	}
	methods := root.get("methods")
	switch {
	case methods == nil:
		if len(p.errs) == 0 {
			p.errorf(root.line, "the file has no methods")
		}
		return
	case methods.kind != yaml.MappingNode:
		p.errorf(methods.line, "methods must be a mapping, not %s", methods.is())
		return
	case len(methods.fields) == 0:
		p.errorf(methods.line, "methods names no method")
	}
	for _, f := range methods.fields {
		if p.full() {
			return
		}
		p.method(f)
	}
}

// method parses one method and its rules.
func (p *parser) method(f field) {
	desc := p.find(f)
	if desc == nil {
		return
	}
	m := &method{
		name: fmt.Sprintf("/%s/%s", desc.Parent().FullName(), desc.Name()),
		line: f.line,
		desc: desc,
	}
	if other := p.methods[m.name]; other != nil {
		p.errorf(f.line, "method %s is on line %d already", quote(f.key), other.line)
		return
	}
	p.methods[m.name] = m
	for _, md := range []protoreflect.MessageDescriptor{desc.Input(), desc.Output()} {
		if md.IsPlaceholder() {
			p.errorf(f.line, "method %s needs %s, which the descriptors don't have", quote(f.key), md.FullName())
			return
		}
	}
	rules := f.value.items
	switch {
	case f.value.kind == yaml.MappingNode:
		rules = []*node{f.value}
	case len(rules) == 0:
		p.errorf(f.value.line, "method %s needs a rule", quote(f.key))
		return
	}
	var always *rule
	for _, n := range rules {
		if p.full() {
			return
		}
		if always != nil {
			p.errorf(n.line, "this rule is never reached: the one on line %d matches everything", always.line)
			return
		}
		r := p.rule(n, desc)
		if r != nil && r.when == nil {
			always = r
		}
		m.rules = append(m.rules, r)
	}
}

// find returns the method that f's key names.
func (p *parser) find(f field) protoreflect.MethodDescriptor {
	name := strings.TrimPrefix(f.key, "/")
	service, method, ok := strings.Cut(name, "/")
	if !ok {
		i := max(strings.LastIndexByte(name, '.'), 0)
		service, method = name[:i], strings.TrimPrefix(name[i:], ".")
	}
	if service == "" || method == "" {
		p.errorf(f.line, "method %s must have the form package.Service/Method", quote(f.key))
		return nil
	}
	d, _ := p.files.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		p.errorf(f.line, "unknown service %s%s", quote(service), didYouMean(service, p.services()))
		return nil
	}
	md := sd.Methods().ByName(protoreflect.Name(method))
	if md == nil {
		var names []string
		for i := range sd.Methods().Len() {
			names = append(names, string(sd.Methods().Get(i).Name()))
		}
		p.errorf(f.line, "service %s has no method %s%s", service, quote(method), didYouMean(method, names))
	}
	return md
}

// services returns the full names of all services, sorted.
func (p *parser) services() []string {
	var names []string
	p.files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			names = append(names, string(fd.Services().Get(i).FullName()))
		}
		return true
	})
	slices.Sort(names)
	return names
}

// mapping reports whether n is a mapping. Keys other than known are mistakes.
func (p *parser) mapping(n *node, what string, known ...string) bool {
	if n.kind != yaml.MappingNode {
		p.errorf(n.line, "%s must be a mapping with %s, not %s", what, strings.Join(known, ", "), n.is())
		return false
	}
	for _, f := range n.fields {
		if !slices.Contains(known, f.key) {
			hint := didYouMean(f.key, known)
			if hint == "" {
				hint = "; there is " + strings.Join(known, ", ")
			}
			p.errorf(f.line, "%s has no key %s%s", what, quote(f.key), hint)
		}
		if p.full() {
			return false
		}
	}
	return true
}

// duration parses a delay. A nil node is none.
func (p *parser) duration(n *node) time.Duration {
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(n.text)
	switch {
	case n.kind != yaml.ScalarNode || err != nil:
		p.errorf(n.line, "delay must be a duration such as 100ms or 1m30s, not %s", n.is())
	case d < 0:
		p.errorf(n.line, "delay must not be negative, not %s", n.is())
	}
	return max(d, 0)
}

// boolean parses a truth value. A nil node is false.
func (p *parser) boolean(n *node, key string) bool {
	if n == nil {
		return false
	}
	v, ok := n.truth()
	if !ok {
		p.errorf(n.line, "%s must be true or false, not %s", key, n.is())
	}
	return v
}

// truth returns the value of a scalar with the tag !!bool.
func (n *node) truth() (value, ok bool) {
	if n.kind != yaml.ScalarNode || n.tag != "!!bool" {
		return false, false
	}
	switch strings.ToLower(n.text) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// clip shortens a text from the file to what errors quote of it.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

// didYouMean returns the end of an error about an unknown name: the name that is most
// like it, or nothing.
func didYouMean(name string, names []string) string {
	if near := suggest.Near(name, names); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}
