package call

import (
	_ "google.golang.org/grpc/encoding/gzip" // for servers that compress
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
)

// codec is like gRPC's proto codec, but decodes all messages, with the server's extensions.
type codec struct{ types reflection.TypeResolver }

// responseBuffer is the destination of RecvMsg.
type responseBuffer struct {
	message protoreflect.ProtoMessage
	size    int // of the encoded message, in bytes
}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := proto.Marshal(v.(protoreflect.ProtoMessage)) //nolint:errcheck // nothing else is sent
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r := v.(*responseBuffer) //nolint:errcheck // nothing else is received
	r.size = data.Len()
	message.Decode(data.Materialize(), r.message, c.types)
	return nil
}

// Name is empty so that the content type is application/grpc, the default.
func (codec) Name() string { return "" }
