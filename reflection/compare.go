package reflection

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// sameFile reports whether two files are equal except for comments and for values that
// some compilers write and others leave out.
func sameFile(a, b *descriptorpb.FileDescriptorProto) bool {
	return proto.Equal(a, b) || proto.Equal(normalize(a), normalize(b))
}

// normalize returns a copy without comments and default values.
func normalize(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := shallowCopy(fdp)
	c.SourceCodeInfo = nil
	c = proto.CloneOf(c)
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

// covers reports whether fd defines every service, message, enum and extension of fdp
// and so can replace it.
func covers(fd protoreflect.FileDescriptor, fdp *descriptorpb.FileDescriptorProto) bool {
	if string(fd.Package()) != fdp.GetPackage() {
		return false
	}
	for _, s := range fdp.GetService() {
		if fd.Services().ByName(protoreflect.Name(s.GetName())) == nil {
			return false
		}
	}
	return coversIn(fd, fdp.GetMessageType(), fdp.GetEnumType(), fdp.GetExtension())
}

// scope is a file or a message.
type scope interface {
	container
	Enums() protoreflect.EnumDescriptors
}

func coversIn(
	s scope, messages []*descriptorpb.DescriptorProto, enums []*descriptorpb.EnumDescriptorProto,
	extensions []*descriptorpb.FieldDescriptorProto,
) bool {
	for _, m := range messages {
		md := s.Messages().ByName(protoreflect.Name(m.GetName()))
		if md == nil || !coversIn(md, m.GetNestedType(), m.GetEnumType(), m.GetExtension()) {
			return false
		}
	}
	for _, e := range enums {
		if s.Enums().ByName(protoreflect.Name(e.GetName())) == nil {
			return false
		}
	}
	for _, x := range extensions {
		if s.Extensions().ByName(protoreflect.Name(x.GetName())) == nil {
			return false
		}
	}
	return true
}
