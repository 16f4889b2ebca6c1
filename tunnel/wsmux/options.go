package wsmux

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
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

// ClientOptions returns the options of [DialGRPC]'s client that suit any client, with creds:
// both message limits are [MaxMsgSize], and the limit of metadata is [MaxMetadata]. A call
// whose response exceeds the latter fails with Internal, or Unavailable if it is far more,
// and a message that names the limit.
//
// The status of a call is that of grpc-status and grpc-message. Details that contradict
// them are dropped, and logged to logger unless it is nil. If grpc-status is missing, the
// status is that of the HTTP status, such as Unauthenticated for 401, and its message
// says so. If a GOAWAY ends a call, the message names its code and debug data.
//
// The options are for one client: its connections share the latest GOAWAY. A later option
// for credentials disables all this except the limits.
func ClientOptions(creds credentials.TransportCredentials, logger *slog.Logger) []grpc.DialOption {
	r := &responses{logger: cmp.Or(logger, slog.New(slog.DiscardHandler))}
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMsgSize), grpc.MaxCallSendMsgSize(MaxMsgSize)),
		grpc.WithMaxHeaderListSize(maxHeaderList),
		grpc.WithTransportCredentials(&responseCredentials{creds, &r.goAway}),
		grpc.WithChainUnaryInterceptor(r.unary),
		grpc.WithChainStreamInterceptor(r.stream),
	}
}

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
