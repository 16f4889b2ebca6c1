package wsmux

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// DialGRPC returns a gRPC client on this session, which the caller closes. It opens a
// stream at the first RPC; all RPCs share that. While the session is up, a lost
// stream is replaced at the next RPC. opts override the defaults.
func (s *Session) DialGRPC(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return newClient(s.logger, func(ctx context.Context) (net.Conn, error) {
		conn, err := s.Connect(ctx)
		if err != nil {
			return nil, err
		}
		return clientConn{conn, s}, nil
	}, opts...)
}

// newClient returns a gRPC client that calls open for each connection. logger may be nil.
func newClient(logger *slog.Logger, open func(context.Context) (net.Conn, error), opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient("passthrough:///wsmux", slices.Concat(ClientOptions(insecure.NewCredentials(), logger), []grpc.DialOption{
		grpc.WithAuthority("localhost"), // gRPC's own choice for targets without a host name
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return open(ctx) }),
		grpc.WithIdleTimeout(0), // otherwise gRPC closes the stream after 30 minutes without RPCs
	}, opts)...)
	if err != nil {
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	return cc, nil
}

// clientConn is the connection of a gRPC client, which puts the error of Read into
// the status of its RPCs.
type clientConn struct {
	Conn
	session *Session
}

// Read returns why the session ended instead of io.EOF.
func (s clientConn) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		if reason := s.session.Err(); reason != nil {
			err = fmt.Errorf("wsmux: session ended: %w", reason)
		}
	}
	return n, err
}
