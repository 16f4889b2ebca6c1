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
)

// anyTypes returns a placeholder for each message that the TypeResolver doesn't find, so
// that protojson writes a google.protobuf.Any of it as its type and its bytes.
type anyTypes struct{ reflection.TypeResolver }

func (t anyTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := t.TypeResolver.FindMessageByURL(url)
	if err == protoregistry.NotFound { //nolint:errorlint // as protoregistry promises
		return unknownType{dynamicpb.NewMessageType(unknownMessage()), url}, nil
	}
	return mt, err
}

// unknownMessage returns the placeholder's descriptor, which has grpcurl's fields.
var unknownMessage = sync.OnceValue(func() protoreflect.MessageDescriptor {
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

// unknownType makes placeholders, which take any bytes as their value.
type unknownType struct {
	protoreflect.MessageType
	url string
}

func (t unknownType) New() protoreflect.Message {
	return &unknown{dynamicpb.NewMessage(unknownMessage()), t.url}
}

type unknown struct {
	*dynamicpb.Message
	url string
}

func (u *unknown) Interface() protoreflect.ProtoMessage { return u }
func (u *unknown) ProtoReflect() protoreflect.Message   { return u }

func (u *unknown) ProtoMethods() *protoiface.Methods {
	return &protoiface.Methods{Unmarshal: func(in protoiface.UnmarshalInput) (protoiface.UnmarshalOutput, error) {
		fields := u.Descriptor().Fields()
		u.Set(fields.ByName("error"), protoreflect.ValueOfString(u.url[strings.LastIndexByte(u.url, '/')+1:]+" is not recognized; see @value for raw binary message data"))
		u.Set(fields.ByName("value"), protoreflect.ValueOfBytes(in.Buf))
		return protoiface.UnmarshalOutput{}, nil
	}}
}
