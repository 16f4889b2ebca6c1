package limit

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
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

// shrink counts n bytes from now on. It must not be called at the same time as release.
func (h *held) shrink(n int64) {
	h.session.charge(n - h.n)
	h.n = n
}

// release may be called more than once, and on nil.
func (h *held) release() {
	if h != nil && !h.released.Swap(true) {
		h.session.charge(-h.n)
	}
}

// arrivalTimeout is how long a response counts for which the codec isn't called, because
// its call has ended.
const arrivalTimeout = 10 * time.Second

// arrive keeps h until hold is called for the response with n bytes that h counts.
func (s *Session) arrive(n int64, h *held) {
	p := s.process
	p.mu.Lock()
	s.arrived[n] = append(s.arrived[n], h)
	p.mu.Unlock()
	time.AfterFunc(arrivalTimeout, func() {
		p.mu.Lock()
		i := slices.Index(s.arrived[n], h)
		if i >= 0 {
			s.removeArrived(n, i)
		}
		p.mu.Unlock()
		if i >= 0 {
			h.release()
		}
	})
}

// takeArrived returns the memory of a response with n bytes that has arrived, or nil.
func (s *Session) takeArrived(n int64) *held {
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(s.arrived[n]) == 0 {
		return nil
	}
	h := s.arrived[n][0]
	s.removeArrived(n, 0)
	return h
}

// removeArrived removes s.arrived[n][i]. The caller holds Process.mu.
func (s *Session) removeArrived(n int64, i int) {
	if s.arrived[n] = slices.Delete(s.arrived[n], i, i+1); len(s.arrived[n]) == 0 {
		delete(s.arrived, n)
	}
}

// queueElement is the memory of a message in grpc-go's queue of frames to send, besides
// its bytes.
const queueElement = 256

// reserve waits until a response fits, and returns its memory. A forwarded message has
// memory already, unless it is small. If it is to be compressed, that memory is freed, and
// the result is an estimate of the compressed copy.
func (m *meteredStream) reserve(v any) (int64, error) {
	n, isForwarded := int64(queueElement), false
	switch v := v.(type) {
	case proto.Message:
		n += int64(proto.Size(v))
	case interface{ Len() int }:
		isForwarded = v.Len() > small
		if !isForwarded || m.call.compresses() {
			n += int64(v.Len())
		}
	}
	s := m.session
	switch {
	case isForwarded:
		s.charge(n)
		return n, nil
	case n > int64(s.MaxMessage())+queueElement:
		return 0, s.tooLarge(n - queueElement)
	}
	if err := s.wait(m.Context(), n, answering); errors.Is(err, errClosed) {
		return 0, status.Error(codes.Unavailable, "wstun: "+err.Error())
	} else if err != nil {
		return 0, status.FromContextError(err).Err()
	}
	return n, nil
}

// meteredCodec counts messages until they are released: a decoded request when the
// handler is done with it, other messages when their buffers are freed.
type meteredCodec struct {
	encoding.CodecV2
	session *Session
	use     use // receiving or answering
}

// Unmarshal implements encoding.CodecV2.
func (c meteredCodec) Unmarshal(data mem.BufferSlice, v any) error {
	memory := c.session.inflated(data)
	if memory == nil && c.use == answering {
		memory = c.session.takeArrived(int64(data.Len()))
	}
	if _, isProto := v.(proto.Message); !isProto {
		if n := bufferMemory(data); memory == nil {
			memory = c.session.hold(n)
		} else {
			memory.shrink(n)
		}
		data.Ref() // grpc-go frees the original, and attach takes over this reference
		data = attach(data, memory)
		defer data.Free()
		return c.CodecV2.Unmarshal(data, v)
	}
	n := int64(data.Len())
	if memory == nil {
		memory = c.session.hold(n)
	}
	err := c.CodecV2.Unmarshal(data, v)
	if err != nil || c.use == answering { // the client has the response, and nothing says for how long
		memory.release()
		return err
	}
	if memory != nil {
		memory.shrink(n)
		// Until RecvMsg returns, which may receive a wrong second message.
		if old, ok := c.session.decoded.Swap(v, memory); ok {
			old.(*held).release() //nolint:errcheck,forcetypeassert // always a *held
		}
	}
	return nil
}

// bufferMemory returns the memory of data.
func bufferMemory(data mem.BufferSlice) (n int64) {
	for _, b := range data {
		n += int64(cap(b.ReadOnlyData()))
	}
	return n
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

// intercept refuses calls that admit refuses, makes SendMsg wait for memory, and counts
// decoded requests.
func (s *Session) intercept(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	a := admissionOf(stream.Context())
	if a.refusal != nil {
		s.process.ended.Add(status.Code(a.refusal))
		return a.refusal
	}
	m := &meteredStream{ServerStream: stream, session: s, admission: a, call: newCall(stream.Context())}
	returned := a.keep(stream.Context(), m.call)
	defer func() { returned(err) }()
	defer func() { m.request.Load().release() }()
	return handler(srv, m)
}

type meteredStream struct {
	grpc.ServerStream
	session   *Session
	admission *admission
	call      *call
	request   atomic.Pointer[held] // the last one
}

// SendMsg counts a response until it is written to the connection.
func (m *meteredStream) SendMsg(v any) error {
	n, err := m.reserve(v)
	if err != nil {
		return err
	}
	m.call.conn.flow.queue(m.call.stream, n)
	if err := m.ServerStream.SendMsg(v); err != nil {
		return err
	}
	m.admission.passed(&m.admission.received)
	return nil
}

// RecvMsg counts a request until the next one is received, or the handler has returned.
func (m *meteredStream) RecvMsg(v any) error {
	m.request.Swap(nil).release()
	m.call.conn.flow.beginRead(m.call.stream)
	err := m.ServerStream.RecvMsg(v)
	m.call.conn.flow.endRead(m.call.stream)
	memory, _ := m.session.decoded.LoadAndDelete(v)
	request, _ := memory.(*held)
	if err != nil {
		request.release()
		return err
	}
	m.admission.passed(&m.admission.sent)
	m.request.Store(request)
	return nil
}
