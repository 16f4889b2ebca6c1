package reflection

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// sameFile reports whether two files mean the same: comments, and what one
// compiler writes down and another leaves to be derived, make no difference.
func sameFile(a, b *descriptorpb.FileDescriptorProto) bool {
	return proto.Equal(a, b) || proto.Equal(plain(a), plain(b))
}

// plain returns a copy without comments and derived values.
func plain(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := shallow(fdp)
	c.SourceCodeInfo = nil
	c = proto.CloneOf(c)
	if c.GetSyntax() == "proto2" {
		c.Syntax = nil
	}
	plainFields(c.GetExtension())
	plainMessages(c.GetMessageType())
	return c
}

func plainMessages(list []*descriptorpb.DescriptorProto) {
	for _, m := range list {
		plainFields(m.GetField())
		plainFields(m.GetExtension())
		plainMessages(m.GetNestedType())
	}
}

func plainFields(list []*descriptorpb.FieldDescriptorProto) {
	for _, f := range list {
		if f.JsonName != nil && f.GetJsonName() == jsonName(f.GetName()) {
			f.JsonName = nil
		}
	}
}

// jsonName derives a field's name in JSON: the letter after a _ is a capital.
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

// covers reports whether fd defines every message, enum and extension that fdp
// does, so that it can stand in for it.
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
