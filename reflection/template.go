package reflection

import (
	"context"
	"fmt"
	"slices"

	"github.com/fullstorydev/grpcurl"
	"github.com/jhump/protoreflect/desc"    //nolint:staticcheck // grpcurl's types
	"github.com/jhump/protoreflect/dynamic" //nolint:staticcheck // grpcurl's messages
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	// maxTemplate bounds the estimated length of a template, in bytes. Without it, the
	// length is exponential in the number of types.
	maxTemplate = 4 << 20

	// maxTemplateDepth bounds the nesting of a template. The indentation of each line
	// is proportional to it.
	maxTemplateDepth = 100
)

// Template returns an example message of type md, with one element in each repeated
// field, as grpcurl does. Messages are empty inside a message of their type, and on the
// levels with which the template would be longer than about 4 MiB. A FieldMask is empty,
// too, because it would have to name fields. If ctx ends first, the error is the cause.
func Template(ctx context.Context, md protoreflect.MessageDescriptor) (protoreflect.ProtoMessage, error) {
	m := dynamicpb.NewMessage(md)
	_, err := interruptible(ctx, func() (string, error) {
		filled, err := newTemplate(md)
		if err != nil {
			return "", err
		}
		data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(protoadapt.MessageV2Of(filled))
		if err != nil {
			return "", err
		}
		return "", proto.UnmarshalOptions{AllowPartial: true}.Unmarshal(data, m)
	})
	if err != nil {
		return nil, fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	return m, nil
}

// TextTemplate returns a Template in the text format, as grpcurl writes it.
func TextTemplate(ctx context.Context, md protoreflect.MessageDescriptor) (string, error) {
	text, err := interruptible(ctx, func() (string, error) {
		filled, err := newTemplate(md)
		if err != nil {
			return "", err
		}
		return grpcurl.NewTextFormatter(false)(filled)
	})
	if err != nil {
		return "", fmt.Errorf("reflection: template of %s: %w", md.FullName(), err)
	}
	return text, nil
}

func newTemplate(md protoreflect.MessageDescriptor) (protoadapt.MessageV1, error) {
	wrapped, err := wrapIncomplete(md)
	if err != nil {
		return nil, err
	}
	return template(wrapped.(*desc.MessageDescriptor), templateDepth(md), nil), nil //nolint:errcheck // as md
}

// template is like grpcurl.MakeTemplate but fills in only the messages on that many
// levels. path contains the types of the enclosing messages.
func template(md *desc.MessageDescriptor, depth int, path []*desc.MessageDescriptor) protoadapt.MessageV1 {
	if isFree(md.Unwrap().FullName()) {
		return grpcurl.MakeTemplate(md)
	}
	m := dynamic.NewMessage(md)
	if depth == 0 || slices.Contains(path, md) || md.GetFullyQualifiedName() == "google.protobuf.FieldMask" {
		return m
	}
	path = append(path, md)
	for _, f := range templateFields(md.UnwrapMessage()) {
		fd := md.FindFieldByNumber(int32(f.Number()))
		switch inner := fd.GetMessageType(); {
		case inner != nil && fd.IsRepeated():
			m.AddRepeatedField(fd, template(inner, depth-1, path))
		case inner != nil:
			m.SetField(fd, template(inner, depth-1, path))
		case fd.IsRepeated():
			m.AddRepeatedField(fd, zero(f.Kind()))
		}
	}
	return m
}

// templateFields returns the fields of md except for those in a one-of: of these, only
// the last message.
func templateFields(md protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	var fields []protoreflect.FieldDescriptor
	chosen := map[protoreflect.OneofDescriptor]bool{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(md.Fields().Len() - 1 - i)
		if oneof := fd.ContainingOneof(); oneof != nil {
			if chosen[oneof] || fd.Message() == nil {
				continue
			}
			chosen[oneof] = true
		}
		fields = append(fields, fd)
	}
	return fields
}

// isFree reports whether a type has no fixed fields in JSON. grpcurl fills it with an
// explanation.
func isFree(name protoreflect.FullName) bool {
	switch name {
	case "google.protobuf.Any", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Struct":
		return true
	}
	return false
}

// zero returns the zero value of a scalar type, in a type that a dynamic message accepts.
func zero(kind protoreflect.Kind) any {
	switch kind {
	case protoreflect.BoolKind:
		return false
	case protoreflect.StringKind:
		return ""
	case protoreflect.BytesKind:
		return []byte{}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return float32(0)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return uint32(0)
	}
	return int32(0)
}

// templateDepth returns the number of levels of messages in a template of md.
func templateDepth(md protoreflect.MessageDescriptor) int {
	depth, size := 1, templateSize(md, 1, nil)
	for depth < maxTemplateDepth {
		next := templateSize(md, depth+1, nil)
		if next == size || next > maxTemplate {
			break
		}
		depth, size = depth+1, next
	}
	return depth
}

// templateSize estimates the length of a template with that many levels. It stops
// counting at maxTemplate.
func templateSize(md protoreflect.MessageDescriptor, depth int, path []protoreflect.MessageDescriptor) int {
	size := 2*len(path) + len("{\n}")
	if depth == 0 || slices.Contains(path, md) || isFree(md.FullName()) {
		return size
	}
	path = append(path, md)
	for _, fd := range templateFields(md) {
		size += len(fd.JSONName()) + 2*len(path) + len("\"\": ,\n")
		switch {
		case fd.Message() != nil:
			size += templateSize(fd.Message(), depth-1, path)
		case fd.DefaultEnumValue() != nil:
			size += len(fd.DefaultEnumValue().Name())
		default:
			size += len(fd.Default().String())
		}
		if size > maxTemplate {
			break
		}
	}
	return size
}
