package call

import (
	"fmt"

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
	data    []byte // encoded
}

// request is the argument of SendMsg: a message that encode has encoded.
type request []byte

// encode encodes a message, so that a mistake in it isn't taken for a status.
func encode(m protoreflect.ProtoMessage) (request, error) {
	data, err := proto.Marshal(m)
	switch {
	case err != nil:
		return nil, message.TrimError(err)
	case len(data) > DefaultMaxMsgSize:
		return nil, fmt.Errorf("the message has %d bytes, more than %d MiB", len(data), DefaultMaxMsgSize>>20)
	}
	return data, nil
}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(request))}, nil //nolint:errcheck // nothing else is sent
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r := v.(*responseBuffer) //nolint:errcheck // nothing else is received
	r.data = data.Materialize()
	message.Decode(r.data, r.message, c.types)
	return nil
}

// Name is empty so that the content type is application/grpc, the default.
func (codec) Name() string { return "" }
