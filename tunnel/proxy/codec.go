package proxy

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // calls compressed with it pass
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// frame is one message as its bytes, which it holds a reference to.
type frame struct {
	data mem.BufferSlice
}

// free gives the reference up; the frame can be used for the next message.
func (f *frame) free() {
	f.data.Free()
	f.data = nil
}

// codec passes frames as they are and leaves every other message to the codec
// of protocol buffers, so that generated services live on the same server.
type codec struct {
	encoding.CodecV2
	name string
}

// Its name becomes the content-subtype of a call where nothing else sets one.
// The server's is never sent, as a response has the subtype of its request.
// The client's is empty, so that the caller's subtype is passed on, or none.
var (
	serverCodec = codec{encoding.GetCodecV2(proto.Name), proto.Name}
	clientCodec = codec{encoding.GetCodecV2(proto.Name), ""}
)

func (c codec) Name() string { return c.name }

// Marshal implements encoding.CodecV2. gRPC frees what it returns, which is
// therefore a reference of its own.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	f.data.Ref()
	return f.data, nil
}

// Unmarshal implements encoding.CodecV2. gRPC frees data when it returns.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	data.Ref()
	f.data = data
	return nil
}
