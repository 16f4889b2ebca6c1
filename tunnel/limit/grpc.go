package limit

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// maxCalls is how many concurrent calls a session may have.
const maxCalls = 16384

// headerRoom is how much longer a header list may be than the metadata that
// Options.HeaderList allows: it has the call's own fields, too.
const headerRoom = 64 << 10

// readBuffer is the size of a connection's buffer. A peer may open many connections, and
// larger frames don't pass through the buffer.
const readBuffer = 2 << 10

// The largest HTTP/2 windows. A message that fits into a stream's window needs no credit:
// grpc-go gives more for each message that is larger. A connection's window limits the
// bytes that arrive after it is stalled.
const (
	maxStreamWindow = 128 << 10
	maxConnWindow   = 4 << 20
)

// windows returns the size of a stream's first window, and that of a connection's window.
// Those of a session with little memory are smaller.
func (s *Session) windows() (stream, conn int32) {
	stream = int32(min(max(s.limit/2048, firstWindow), maxStreamWindow))
	conn = int32(min(max(s.limit/16, firstWindow), maxConnWindow))
	return stream, conn
}

// fieldOverhead is the size of a header field beyond its name and value (RFC 9113
// §6.5.2).
const fieldOverhead = 32

// MaxMessage returns the size limit of a message in bytes: 64 MiB, or a quarter of the
// session's memory if that is less.
func (s *Session) MaxMessage() int {
	return int(min(wsmux.MaxMsgSize, s.limit/4))
}

// Server is a gRPC server for one session.
type Server struct {
	*grpc.Server
	session *Session
}

// NewServer returns a server that s limits. It encodes messages with codec. opts must not
// set a codec, a limit or a tap handler.
func (s *Session) NewServer(codec encoding.CodecV2, opts ...grpc.ServerOption) *Server {
	streamWindow, connWindow := s.windows()
	return &Server{session: s, Server: grpc.NewServer(append(opts,
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxRecvMsgSize(s.MaxMessage()),
		grpc.MaxSendMsgSize(s.MaxMessage()),
		grpc.MaxHeaderListSize(s.maxHeaderList()),
		grpc.ReadBufferSize(readBuffer),
		experimental.BufferPool(bufferPool{}),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ForceServerCodecV2(meteredCodec{codec, s, receiving}),
		grpc.RPCDecompressor(decompressor{s, decompressing}), //nolint:staticcheck // an encoding.Compressor serves all servers of the process
		grpc.InTapHandle(s.admit),
		grpc.ChainStreamInterceptor(s.intercept),
	)...)}
}

// RegisterService implements grpc.ServiceRegistrar. It registers unary methods as streams,
// so that one interceptor serves both, which runs before the request is received.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	streams := *desc
	streams.Methods, streams.Streams = nil, slices.Clone(desc.Streams)
	for _, m := range desc.Methods {
		streams.Streams = append(streams.Streams, grpc.StreamDesc{
			StreamName:    m.MethodName,
			ServerStreams: true, // otherwise grpc-go doesn't call the interceptor
			Handler: func(srv any, stream grpc.ServerStream) error {
				reply, err := m.Handler(srv, stream.Context(), stream.RecvMsg, nil)
				if err != nil {
					return err
				}
				return stream.SendMsg(reply)
			},
		})
	}
	s.Server.RegisterService(&streams, impl)
}

// OpenCalls returns how many calls of the session are open.
func (s *Server) OpenCalls() int {
	s.session.process.mu.Lock()
	defer s.session.process.mu.Unlock()
	return s.session.calls
}

// Serve serves the connections of l, and closes it. It blocks until the server is stopped.
func (s *Server) Serve(l net.Listener) error { return s.Server.Serve(&listener{l, s.session}) }

// ClientOptions returns the options of a gRPC client that makes calls for this session
// alone, with [Session.ClientCredentials] and [Session.ClientCodec]. They limit messages to
// [Session.MaxMessage].
func (s *Session) ClientOptions() []grpc.DialOption {
	streamWindow, connWindow := s.windows()
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		experimental.WithBufferPool(bufferPool{}),
		grpc.WithDecompressor(decompressor{s, answering}), //nolint:staticcheck // as in NewServer
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(s.MaxMessage()), grpc.MaxCallSendMsgSize(s.MaxMessage())),
	}
}

// ClientCodec returns a codec that counts the messages that it decodes.
func (s *Session) ClientCodec(codec encoding.CodecV2) encoding.CodecV2 {
	return meteredCodec{codec, s, answering}
}

func (s *Session) maxHeaderList() uint32 {
	return uint32(min(s.process.opts.HeaderList+headerRoom, math.MaxUint32)) //nolint:gosec // it fits
}

// admission is the value of a call's context at admissionKey.
type admission struct {
	session *Session
	refusal error        // of the call, or nil
	size    int64        // of the header list
	stop    func() bool  // stops the removal of the call at the end of its context
	users   atomic.Int32 // the handler and the stream, as long as they haven't ended
}

// keep counts the call until its handler has returned and its stream has ended, whether or
// not its context has. The handler calls the result when it returns.
func (a *admission) keep(c *call) (returned func()) {
	if !a.stop() {
		return func() {}
	}
	a.users.Store(2)
	done := func() {
		if a.users.Add(-1) == 0 {
			a.session.removeCall(a.size)
		}
	}
	if !c.conn.flow.callAtEnd(c.stream, done) {
		done()
	}
	return done
}

type admissionKey struct{}

// admit counts a call and its header list until the call ends. It refuses no call itself:
// grpc-go doesn't stop the timers of calls for which a tap.ServerInHandle returns an error.
func (s *Session) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	a := &admission{session: s, size: listSize(info.Header)}
	if a.refusal = s.addCall(a.size); a.refusal == nil {
		a.stop = context.AfterFunc(ctx, func() { s.removeCall(a.size) })
	}
	return context.WithValue(ctx, admissionKey{}, a), nil
}

func admissionOf(ctx context.Context) *admission {
	a, _ := ctx.Value(admissionKey{}).(*admission)
	return a
}

// FromContext returns the session of a call, or nil.
func FromContext(ctx context.Context) *Session {
	if a := admissionOf(ctx); a != nil {
		return a.session
	}
	return nil
}

func (s *Session) addCall(size int64) error {
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.calls == maxCalls:
		return status.Errorf(codes.ResourceExhausted, "wstun: this session has %d open calls already", maxCalls)
	case s.headers+size > p.opts.SessionHeaderLists:
		return status.Errorf(codes.ResourceExhausted, "wstun: the headers of this session's open calls have more than %d bytes", p.opts.SessionHeaderLists)
	}
	s.calls++
	s.headers += size
	return nil
}

func (s *Session) removeCall(size int64) {
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	s.calls--
	s.headers -= size
}

// listSize returns the size of a header list (RFC 9113 §6.5.2).
func listSize(md metadata.MD) (size int64) {
	for name, values := range md {
		for _, value := range values {
			size += int64(len(name) + len(value) + fieldOverhead)
		}
	}
	return size
}

// tooLarge is the error of a message that doesn't fit even alone.
func (s *Session) tooLarge(n int64) error {
	return status.Error(codes.ResourceExhausted, fmt.Sprintf("wstun: a message of %d bytes is larger than %d", n, s.MaxMessage()))
}
