package stub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/reflection/suggest"
	"github.com/wstun/wstun/reflection/types"
)

// maxErrors bounds the errors that Parse returns.
const maxErrors = 10

// A parser parses one file into methods or errors.
type parser struct {
	name    string // of the file
	files   *protoregistry.Files
	types   types.Resolver
	methods map[string]*method
	errs    []mistake
}

// A mistake is an error with its line.
type mistake struct {
	line int
	text string
}

// errorf records a mistake.
func (p *parser) errorf(line int, format string, args ...any) {
	if !p.full() {
		p.errs = append(p.errs, mistake{line, fmt.Sprintf(format, args...)})
	}
}

// full reports whether there are maxErrors mistakes, so that parsing can stop.
func (p *parser) full() bool { return len(p.errs) >= maxErrors }

// mistakes returns the errors, sorted by line.
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
		p.errorf(methods.line, "methods must be a mapping, not %s", methods.describe())
		return
	case len(methods.fields) == 0:
		p.errorf(methods.line, "methods is empty")
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
		p.errorf(f.line, "duplicate method %s, first on line %d", quote(f.key), other.line)
		return
	}
	p.methods[m.name] = m
	for _, md := range []protoreflect.MessageDescriptor{desc.Input(), desc.Output()} {
		if md.IsPlaceholder() {
			p.errorf(f.line, "method %s needs %s, which the descriptors lack", quote(f.key), md.FullName())
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

// find returns the method named by f.key, nil after an error.
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

// mapping reports whether n is a mapping. It records a mistake for each key that isn't
// in known. subject names the mapping in errors.
func (p *parser) mapping(n *node, subject string, known ...string) bool {
	if n.kind != yaml.MappingNode {
		p.errorf(n.line, "%s must be a mapping with %s, not %s", subject, strings.Join(known, ", "), n.describe())
		return false
	}
	for _, f := range n.fields {
		if !slices.Contains(known, f.key) {
			hint := didYouMean(f.key, known)
			if hint == "" {
				hint = "; the keys are " + strings.Join(known, ", ")
			}
			p.errorf(f.line, "%s cannot have the key %s%s", subject, quote(f.key), hint)
		}
		if p.full() {
			return false
		}
	}
	return true
}

// duration parses a delay. It returns 0 for a nil node.
func (p *parser) duration(n *node) time.Duration {
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(n.text)
	switch {
	case n.kind != yaml.ScalarNode || err != nil:
		p.errorf(n.line, "delay must be a duration such as 100ms or 1m30s, not %s", n.describe())
	case d < 0:
		p.errorf(n.line, "delay must not be negative, not %s", n.describe())
	}
	return max(d, 0)
}

// boolean parses a boolean. It returns false for a nil node.
func (p *parser) boolean(n *node, key string) bool {
	if n == nil {
		return false
	}
	v, ok := n.boolean()
	if !ok {
		p.errorf(n.line, "%s must be true or false, not %s", key, n.describe())
	}
	return v
}

// boolean returns the value of a scalar with the tag !!bool.
func (n *node) boolean() (value, ok bool) {
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

// truncate shortens a text from the file for use in an error.
func truncate(s string) string {
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%q", truncate(s)) }

// didYouMean returns the end of an error about an unknown name: the most similar name,
// or "".
func didYouMean(name string, names []string) string {
	if near := suggest.Near(name, names); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}
