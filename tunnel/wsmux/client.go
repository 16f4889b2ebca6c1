package wsmux

import (
	"context"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// DialGRPC returns a gRPC client on this session. Like the function of the same
// name it sends nothing before the first RPC, all RPCs share one stream, and a
// lost stream is opened again as long as the session is up. opts override the
// defaults.
func (s *Session) DialGRPC(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return newClient(func(ctx context.Context) (net.Conn, error) {
		stream, err := s.Open(ctx)
		if err != nil {
			return nil, err
		}
		return clientStream{stream, s}, nil
	}, opts...)
}

// newClient returns a gRPC client whose connections open makes.
func newClient(open func(context.Context) (net.Conn, error), opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient("passthrough:///wsmux", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), // as gRPC does where there is no host name
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return open(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMsgSize), grpc.MaxCallSendMsgSize(MaxMsgSize)),
		grpc.WithIdleTimeout(0), // idleness would close the one stream
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	return cc, nil
}

// clientStream is a stream below a gRPC client, which reports the error of Read
// to its callers.
type clientStream struct {
	*Stream
	session *Session
}

// Read returns the reason also when the session ended in order.
func (s clientStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		if reason := s.session.Err(); reason != nil {
			err = fmt.Errorf("wsmux: session ended: %w", reason)
		}
	}
	return n, err
}
