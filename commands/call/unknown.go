package call

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/runtime/protoiface"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// anyResolver resolves the types of google.protobuf.Any messages. Instead of NotFound it
// returns a placeholderType, with which protojson writes the type's name and the bytes.
type anyResolver struct{ reflection.TypeResolver }

func (r anyResolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := r.TypeResolver.FindMessageByURL(url)
	if err == protoregistry.NotFound { //nolint:errorlint // resolvers must return it unwrapped
		return placeholderType{dynamicpb.NewMessageType(placeholderDescriptor()), url}, nil
	}
	return mt, err
}

// placeholderDescriptor returns the descriptor of placeholders. The fields are those that
// grpcurl prints for an unknown type: @error and @value.
var placeholderDescriptor = sync.OnceValue(func() protoreflect.MessageDescriptor {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: new(name), JsonName: new("@" + name), Number: new(number),
			Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	fd, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("unknown.proto"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Unknown"), Field: []*descriptorpb.FieldDescriptorProto{
			field("error", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING),
			field("value", 2, descriptorpb.FieldDescriptorProto_TYPE_BYTES),
		}}},
	}, nil)
	if err != nil {
		return nil // can't happen: the file is constant
	}
	return fd.Messages().Get(0)
})

// placeholderType is the type of the placeholders for the unknown type at url.
type placeholderType struct {
	protoreflect.MessageType
	url string
}

func (t placeholderType) New() protoreflect.Message {
	return &placeholder{dynamicpb.NewMessage(placeholderDescriptor()), t.url}
}

// placeholder is a message of an unknown type.
type placeholder struct {
	*dynamicpb.Message
	url string
}

func (p *placeholder) Interface() protoreflect.ProtoMessage { return p }
func (p *placeholder) ProtoReflect() protoreflect.Message   { return p }

// ProtoMethods replaces Unmarshal, which then accepts any bytes: it stores them in the
// field value, and a sentence with the type's name in the field error.
func (p *placeholder) ProtoMethods() *protoiface.Methods {
	return &protoiface.Methods{Unmarshal: func(in protoiface.UnmarshalInput) (protoiface.UnmarshalOutput, error) {
		fields := p.Descriptor().Fields()
		p.Set(fields.ByName("error"), protoreflect.ValueOfString(p.url[strings.LastIndexByte(p.url, '/')+1:]+" is not recognized; see @value for raw binary message data"))
		p.Set(fields.ByName("value"), protoreflect.ValueOfBytes(in.Buf))
		return protoiface.UnmarshalOutput{}, nil
	}}
}

// cleanURLs resolves types for the text format, which prints an Any with its URL as it is,
// in brackets. Without a type it prints the URL as a string literal instead.
type cleanURLs struct{ reflection.TypeResolver }

func (r cleanURLs) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if escape.Line(url) != url {
		return nil, protoregistry.NotFound
	}
	return r.TypeResolver.FindMessageByURL(url)
}
