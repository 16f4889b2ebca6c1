package reflection

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
)

// codec decodes the answers of a server within its limits.
type codec struct {
	encoding.CodecV2

	b       *builder
	traffic int   // how many more bytes to receive
	held    int   // the memory reserved for the last answer
	err     error // the limit that an answer exceeded
}

func newCodec(b *builder) *codec {
	return &codec{CodecV2: encoding.GetCodecV2("proto"), b: b, traffic: maxTraffic}
}

// Name makes grpc omit the name of the codec in requests, as without a codec of our own.
func (*codec) Name() string { return "" }

var answerType = (*grpc_reflection_v1.ServerReflectionResponse)(nil).ProtoReflect().Descriptor()

// Unmarshal decodes an answer and reserves the memory for it, until release or the next
// answer.
func (c *codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.release(c.held)
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	if c.err = c.admit(buf.ReadOnlyData()); c.err != nil {
		return c.err
	}
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a message", v)
	}
	return proto.Unmarshal(buf.ReadOnlyData(), m)
}

// admit reserves the memory and the steps to decode an answer.
func (c *codec) admit(raw []byte) error {
	if c.traffic -= len(raw); c.traffic < 0 {
		return fmt.Errorf("the server sends more than %d bytes", maxTraffic)
	}
	w, err := weigh(answerType, raw, 2*c.b.memory.left()) // nothing is built of it
	if err != nil {
		return err
	}
	if err := c.b.budget.spend(w.fields * 50); err != nil {
		return err
	}
	if err := c.b.memory.reserve(w.decoded); err != nil {
		return err
	}
	c.held = w.decoded
	return nil
}

// release gives back some of the memory for the last answer.
func (c *codec) release(bytes int) {
	bytes = min(bytes, c.held)
	c.b.memory.release(bytes)
	c.held -= bytes
}
