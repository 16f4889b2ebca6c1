package stub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/yamlfile"
	"github.com/wstun/wstun/reflection/types"
)

// A parser parses one file into methods or errors.
type parser struct {
	yamlfile.File
	files   *protoregistry.Files
	types   types.Resolver
	methods map[string]*method
}

// file parses the whole file.
func (p *parser) file(text []byte) {
	root := p.Parse(text)
	if root == nil {
		if p.Mistakes() == 0 {
			p.Errorf(1, "the file is empty")
		}
		return
	}
	if !p.mapping(root, "the file", "methods") {
		return
	}
	methods := root.Get("methods")
	switch {
	case methods == nil:
		if p.Mistakes() == 0 {
			p.Errorf(root.Line, "the file has no methods")
		}
		return
	case methods.Kind != yaml.MappingNode:
		p.Errorf(methods.Line, "methods must be a mapping, not %s", methods.Describe())
		return
	case len(methods.Fields) == 0:
		p.Errorf(methods.Line, "methods is empty")
	}
	for _, f := range methods.Fields {
		if p.Full() {
			return
		}
		p.method(f)
	}
}

// method parses one method and its rules.
func (p *parser) method(f yamlfile.Field) {
	desc := p.find(f)
	if desc == nil {
		return
	}
	m := &method{
		name: fmt.Sprintf("/%s/%s", desc.Parent().FullName(), desc.Name()),
		line: f.Line,
		desc: desc,
	}
	if other := p.methods[m.name]; other != nil {
		p.Errorf(f.Line, "duplicate method %s, first on line %d", yamlfile.Quote(f.Key), other.line)
		return
	}
	p.methods[m.name] = m
	for _, md := range []protoreflect.MessageDescriptor{desc.Input(), desc.Output()} {
		if md.IsPlaceholder() {
			p.Errorf(f.Line, "method %s needs %s, which the descriptors lack", yamlfile.Quote(f.Key), md.FullName())
			return
		}
	}
	rules := f.Value.Items
	switch {
	case f.Value.Kind == yaml.MappingNode:
		rules = []*yamlfile.Node{f.Value}
	case len(rules) == 0:
		p.Errorf(f.Value.Line, "method %s needs a rule", yamlfile.Quote(f.Key))
		return
	}
	var always *rule
	for _, n := range rules {
		if p.Full() {
			return
		}
		if always != nil {
			p.Errorf(n.Line, "this rule is never reached: the one on line %d matches everything", always.line)
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
func (p *parser) find(f yamlfile.Field) protoreflect.MethodDescriptor {
	name := strings.TrimPrefix(f.Key, "/")
	service, method, ok := strings.Cut(name, "/")
	if !ok {
		i := max(strings.LastIndexByte(name, '.'), 0)
		service, method = name[:i], strings.TrimPrefix(name[i:], ".")
	}
	if service == "" || method == "" {
		p.Errorf(f.Line, "method %s must have the form package.Service/Method", yamlfile.Quote(f.Key))
		return nil
	}
	d, _ := p.files.FindDescriptorByName(protoreflect.FullName(service))
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		p.Errorf(f.Line, "unknown service %s%s", yamlfile.Quote(service), yamlfile.DidYouMean(service, p.services()))
		return nil
	}
	md := sd.Methods().ByName(protoreflect.Name(method))
	if md == nil {
		var names []string
		for i := range sd.Methods().Len() {
			names = append(names, string(sd.Methods().Get(i).Name()))
		}
		p.Errorf(f.Line, "service %s has no method %s%s", service, yamlfile.Quote(method), yamlfile.DidYouMean(method, names))
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
func (p *parser) mapping(n *yamlfile.Node, subject string, known ...string) bool {
	if n.Kind != yaml.MappingNode {
		p.Errorf(n.Line, "%s must be a mapping with %s, not %s", subject, strings.Join(known, ", "), n.Describe())
		return false
	}
	for _, f := range n.Fields {
		if !slices.Contains(known, f.Key) {
			hint := yamlfile.DidYouMean(f.Key, known)
			if hint == "" {
				hint = "; the keys are " + strings.Join(known, ", ")
			}
			p.Errorf(f.Line, "%s cannot have the key %s%s", subject, yamlfile.Quote(f.Key), hint)
		}
		if p.Full() {
			return false
		}
	}
	return true
}

// duration parses a delay. It returns 0 for a nil node.
func (p *parser) duration(n *yamlfile.Node) time.Duration {
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(n.Text)
	switch {
	case n.Kind != yaml.ScalarNode || err != nil:
		p.Errorf(n.Line, "delay must be a duration such as 100ms or 1m30s, not %s", n.Describe())
	case d < 0:
		p.Errorf(n.Line, "delay must not be negative, not %s", n.Describe())
	}
	return max(d, 0)
}

// boolean parses a boolean. It returns false for a nil node.
func (p *parser) boolean(n *yamlfile.Node, key string) bool {
	if n == nil {
		return false
	}
	v, ok := n.Bool()
	if !ok {
		p.Errorf(n.Line, "%s must be true or false, not %s", key, n.Describe())
	}
	return v
}
