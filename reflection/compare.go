package reflection

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// normalize returns a copy without path, imports, comments and default values. It drops
// default values of fdp, too, which shares its declarations with the copy.
func normalize(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := shallowCopy(fdp)
	c.Name, c.Dependency, c.OptionDependency, c.SourceCodeInfo = nil, nil, nil, nil
	if c.GetSyntax() == "proto2" {
		c.Syntax = nil
	}
	normalizeFields(c.GetExtension())
	normalizeMessages(c.GetMessageType())
	return c
}

func normalizeMessages(list []*descriptorpb.DescriptorProto) {
	for _, m := range list {
		normalizeFields(m.GetField())
		normalizeFields(m.GetExtension())
		normalizeMessages(m.GetNestedType())
	}
}

func normalizeFields(list []*descriptorpb.FieldDescriptorProto) {
	for _, f := range list {
		if f.JsonName != nil && f.GetJsonName() == jsonName(f.GetName()) {
			f.JsonName = nil
		}
	}
}

// jsonName returns the default JSON name of a field: lowerCamelCase.
func jsonName(name string) string {
	out := make([]byte, 0, len(name))
	upper := false
	for _, c := range []byte(name) {
		if c == '_' {
			upper = true
			continue
		}
		if upper && 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper = false
		out = append(out, c)
	}
	return string(out)
}

// covers reports whether a defines every service, message, enum and extension of b and so
// can replace it.
func covers(a, b protoreflect.FileDescriptor) bool {
	if a.Package() != b.Package() {
		return false
	}
	for i := range b.Services().Len() {
		if a.Services().ByName(b.Services().Get(i).Name()) == nil {
			return false
		}
	}
	return coversIn(a, b)
}

// scope is a file or a message.
type scope interface {
	container
	Enums() protoreflect.EnumDescriptors
}

func coversIn(a, b scope) bool {
	for i := range b.Messages().Len() {
		mb := b.Messages().Get(i)
		ma := a.Messages().ByName(mb.Name())
		if ma == nil || !coversIn(ma, mb) {
			return false
		}
	}
	for i := range b.Enums().Len() {
		if a.Enums().ByName(b.Enums().Get(i).Name()) == nil {
			return false
		}
	}
	for i := range b.Extensions().Len() {
		if a.Extensions().ByName(b.Extensions().Get(i).Name()) == nil {
			return false
		}
	}
	return true
}
