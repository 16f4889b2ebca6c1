package proxy

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // to forward compressed calls
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// rawMessage is an encoded message. It owns a reference to data.
type rawMessage struct {
	data mem.BufferSlice
}

// Len returns the length in bytes, for package limit.
func (m *rawMessage) Len() int { return m.data.Len() }

// free releases the reference. The rawMessage may be reused.
func (m *rawMessage) free() {
	m.data.Free()
	m.data = nil
}

// Codec is the codec that [Proxy.ServerOptions] sets. A later option may set a codec that
// wraps it.
var Codec encoding.CodecV2 = serverCodec

// codec passes rawMessages through unchanged and encodes all other messages as protocol
// buffers, so that generated services can run on the same server.
type codec struct {
	encoding.CodecV2
	name string
}

// The name of a codec is the default content-subtype of a call. The server never sends
// its own, because a response has the subtype of its request. The client's is empty so
// that the upstream gets the caller's subtype, or none.
var (
	serverCodec = codec{encoding.GetCodecV2(proto.Name), proto.Name}
	clientCodec = codec{encoding.GetCodecV2(proto.Name), ""}
)

func (c codec) Name() string { return c.name }

// Marshal implements encoding.CodecV2. It returns a new reference, which grpc-go frees.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*rawMessage)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	m.data.Ref()
	return m.data, nil
}

// Unmarshal implements encoding.CodecV2. grpc-go frees data afterwards.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*rawMessage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	data.Ref()
	m.data = data
	return nil
}
