package wsmux

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpckeepalive "google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// maxCalls is how many concurrent RPCs a server allows one client. gRPC clients queue
// further ones. No client comes close; the limit bounds the cost of a hostile one.
const maxCalls = 16384

// maxHeaderList is the limit of a header list, which also has gRPC's own fields.
const maxHeaderList = MaxMetadata + 64*1024

// ServerOptions returns the options of [ServeGRPC]'s server: both message limits are
// [MaxMsgSize], the limit of metadata is [MaxMetadata], each client may have 16384
// concurrent RPCs, and clients may send HTTP/2 Pings every second, even without an RPC.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxRecvMsgSize(MaxMsgSize),
		grpc.MaxSendMsgSize(MaxMsgSize),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.KeepaliveEnforcementPolicy(grpckeepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// ClientOptions returns the options of [DialGRPC]'s client that suit any client: both
// message limits are [MaxMsgSize], and the limit of metadata is [MaxMetadata]. A call
// whose response exceeds the latter fails with Internal, or Unavailable if it is far more,
// and a message that names the limit.
func ClientOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMsgSize), grpc.MaxCallSendMsgSize(MaxMsgSize)),
		grpc.WithMaxHeaderListSize(maxHeaderList),
		grpc.WithChainUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
		) error {
			return nameMetadataLimit(invoke(ctx, method, req, reply, cc, opts...))
		}),
		grpc.WithChainStreamInterceptor(func(
			ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, cc, method, opts...)
			if err != nil {
				return nil, err
			}
			return limitedStream{stream}, nil
		}),
	}
}

// limitedStream is a stream whose errors name the limit of metadata.
type limitedStream struct{ grpc.ClientStream }

func (s limitedStream) RecvMsg(m any) error { return nameMetadataLimit(s.ClientStream.RecvMsg(m)) }

// nameMetadataLimit adds the limit to grpc-go's errors about too long a header list. A list
// that is more than twice as long, or has such a value, ends the connection.
func nameMetadataLimit(err error) error {
	s := status.Convert(err)
	switch text := s.Message(); {
	case s.Code() == codes.Internal && text == "peer header list size exceeded limit":
		return status.Error(s.Code(), fmt.Sprintf("the response has more than %d bytes of metadata", MaxMetadata))
	case s.Code() == codes.Unavailable && (strings.HasSuffix(text, "connection error: PROTOCOL_ERROR") || strings.HasSuffix(text, "connection error: COMPRESSION_ERROR")):
		return status.Error(s.Code(), fmt.Sprintf("%s: invalid HTTP/2, or a response with more than %d bytes of metadata", text, MaxMetadata))
	}
	return err
}
