package limit

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// small is the size in bytes up to which messages don't count.
const small = 4 << 10

// held is a part of a session's messages: n bytes until release.
type held struct {
	session  *Session
	n        int64
	released atomic.Bool
}

// hold counts n bytes without waiting. It returns nil for a small message.
func (s *Session) hold(n int64) *held {
	if n <= small {
		return nil
	}
	s.charge(n)
	return &held{session: s, n: n}
}

// release may be called more than once, and on nil.
func (h *held) release() {
	if h != nil && !h.released.Swap(true) {
		h.session.charge(-h.n)
	}
}

// outgoing is a response with the memory that is reserved for it.
type outgoing struct {
	message any
	memory  *held
}

// prepare waits until a response fits, and returns it for meteredCodec.Marshal. Encoded
// messages count already.
func (s *Session) prepare(ctx context.Context, message any) (any, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return message, nil
	}
	n := int64(proto.Size(m))
	switch {
	case n <= small:
		return message, nil
	case n > int64(s.MaxMessage()):
		return nil, s.tooLarge(n)
	}
	if err := s.wait(ctx, n, sending); errors.Is(err, errClosed) {
		return nil, status.Error(codes.Unavailable, "wstun: "+err.Error())
	} else if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return &outgoing{message, &held{session: s, n: n}}, nil
}

// meteredCodec counts messages until they are released: a decoded request when the
// handler is done with it, other requests and all responses when their buffers are
// freed.
type meteredCodec struct {
	encoding.CodecV2
	session *Session
}

// Marshal implements encoding.CodecV2.
func (c meteredCodec) Marshal(v any) (mem.BufferSlice, error) {
	out, ok := v.(*outgoing)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	data, err := c.CodecV2.Marshal(out.message)
	if err != nil {
		out.memory.release()
		return nil, err
	}
	return attach(data, out.memory), nil
}

// Unmarshal implements encoding.CodecV2.
func (c meteredCodec) Unmarshal(data mem.BufferSlice, v any) error {
	memory := c.session.inflated(data)
	if memory == nil {
		memory = c.session.hold(int64(data.Len()))
	}
	if _, decoded := v.(proto.Message); !decoded {
		data.Ref() // grpc-go frees the original, and attach takes over this reference
		data = attach(data, memory)
		defer data.Free()
		return c.CodecV2.Unmarshal(data, v)
	}
	if err := c.CodecV2.Unmarshal(data, v); err != nil {
		memory.release()
		return err
	}
	if memory != nil {
		c.session.decoded.Store(v, memory) // until HandleRPC
	}
	return nil
}

// attach returns data whose last large buffer releases memory when it is freed. It takes
// over the reference to data.
func attach(data mem.BufferSlice, memory *held) mem.BufferSlice {
	if memory == nil {
		return data
	}
	for i := len(data) - 1; i >= 0; i-- {
		if b := data[i].ReadOnlyData(); !mem.IsBelowBufferPoolingThreshold(cap(b)) {
			out := append(mem.BufferSlice(nil), data...)
			out[i] = mem.NewBuffer(&b, newBufferOwner(data[i], memory))
			return out
		}
	}
	// mem.NewBuffer doesn't own smaller buffers.
	defer data.Free()
	b := data.Materialize()
	return mem.BufferSlice{mem.NewBuffer(&b, newBufferOwner(mem.SliceBuffer(b), memory))}
}

// bufferOwner is the pool of one buffer, which it frees with the memory. If grpc-go drops
// the buffer instead, as it does when it loses a connection, the garbage collector
// releases the memory.
type bufferOwner struct {
	buffer mem.Buffer
	memory *held
}

func newBufferOwner(b mem.Buffer, memory *held) *bufferOwner {
	o := &bufferOwner{b, memory}
	runtime.AddCleanup(o, (*held).release, memory)
	return o
}

func (o *bufferOwner) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

func (o *bufferOwner) Put(*[]byte) {
	o.buffer.Free()
	o.memory.release()
}

// callStats is the stats.Handler that counts decoded requests. A request counts until the
// handler has received the next one, or has returned.
type callStats struct{ session *Session }

// requestKey is the key of the memory of a call's last request in its context: an
// *atomic.Pointer[held].
type requestKey struct{}

// TagRPC implements stats.Handler.
func (callStats) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, requestKey{}, new(atomic.Pointer[held]))
}

// HandleRPC implements stats.Handler.
func (c callStats) HandleRPC(ctx context.Context, event stats.RPCStats) {
	var memory *held
	switch event := event.(type) {
	case *stats.InPayload:
		if m, ok := c.session.decoded.LoadAndDelete(event.Payload); ok {
			memory, _ = m.(*held)
		}
	case *stats.End:
	default:
		return
	}
	last, _ := ctx.Value(requestKey{}).(*atomic.Pointer[held])
	last.Swap(memory).release()
}

// TagConn implements stats.Handler.
func (callStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (callStats) HandleConn(context.Context, stats.ConnStats) {}

// intercept refuses calls that admit refuses, and makes SendMsg wait for memory.
func (s *Session) intercept(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := refused(stream.Context()); err != nil {
		return err
	}
	return handler(srv, &meteredStream{stream, s})
}

type meteredStream struct {
	grpc.ServerStream
	session *Session
}

func (m *meteredStream) SendMsg(v any) error {
	v, err := m.session.prepare(m.Context(), v)
	if err != nil {
		return err
	}
	return m.ServerStream.SendMsg(v)
}
