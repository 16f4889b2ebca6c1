package limit

import (
	"fmt"
	"math"
	"net"
	"path"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

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
	srv := &Server{session: s}
	opts = slices.Concat([]grpc.ServerOption{grpc.UnknownServiceHandler(srv.unimplemented)}, opts, []grpc.ServerOption{
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
	})
	srv.Server = grpc.NewServer(opts...)
	return srv
}

// unimplemented answers calls of unknown methods as grpc-go does, which wouldn't call the
// interceptor.
func (s *Server) unimplemented(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream)
	service, method := path.Split(strings.TrimPrefix(name, "/"))
	service = strings.TrimSuffix(service, "/")
	if _, ok := s.GetServiceInfo()[service]; !ok {
		return status.Errorf(codes.Unimplemented, "unknown service %v", service)
	}
	return status.Errorf(codes.Unimplemented, "unknown method %v for service %v", method, service)
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
