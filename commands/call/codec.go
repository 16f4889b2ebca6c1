package call

import (
	_ "google.golang.org/grpc/encoding/gzip" // for servers that compress
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection"
)

// codec encodes as gRPC's own does, and decodes with the server's extensions.
type codec struct{ types reflection.TypeResolver }

// received is a message to receive into.
type received struct {
	message protoreflect.ProtoMessage
	size    int // of what has come, in bytes
}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := proto.Marshal(v.(protoreflect.ProtoMessage)) //nolint:errcheck // nothing else is sent
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r := v.(*received) //nolint:errcheck // nothing else is received
	r.size = data.Len()
	return proto.UnmarshalOptions{AllowPartial: true, Resolver: c.types}.Unmarshal(data.Materialize(), r.message)
}

// Name is empty for the content type to be application/grpc, as is the default.
func (codec) Name() string { return "" }
