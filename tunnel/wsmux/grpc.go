package wsmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// maxCalls is how many RPCs of one client a server runs at a time. gRPC clients
// wait with more. It is far beyond what one does, and bounds what it costs.
const maxCalls = 16384

// ServerOptions returns the options of the server that [ServeGRPC] makes: both
// message limits at [MaxMsgSize], 16384 RPCs at a time for each client, and
// patience with clients that ping.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxRecvMsgSize(MaxMsgSize),
		grpc.MaxSendMsgSize(MaxMsgSize),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// ServeGRPC serves gRPC on a WebSocket as the yamux server. register is called
// before serving begins; ServeGRPC returns once it has begun, and the caller
// waits on the session's CloseChan.
//
// GracefulStop of the server lets the RPCs in flight finish and then closes
// the session and the WebSocket. Stop, closing the session, and closing
// wsConn end everything at once, and the server is stopped when the session
// ends, whoever ended it.
//
// An error is about nil arguments; wsConn is closed then.
func ServeGRPC(wsConn *websocket.Conn, register func(*grpc.Server)) (*grpc.Server, *yamux.Session, error) {
	if register == nil {
		if wsConn != nil {
			_ = wsConn.Close()
		}
		return nil, nil, errors.New("wsmux: the register function is nil")
	}
	session, err := NewSession(wsConn, Server, &Options{Window: DefaultWindow, shared: true})
	if err != nil {
		return nil, nil, err
	}
	srv := grpc.NewServer(ServerOptions()...)
	register(srv)
	l := newSessionListener(session)
	go func() { _ = srv.Serve(l) }() // ends with the server
	go func() {
		<-session.Done()
		srv.Stop()
	}()
	<-l.serving
	return srv, session.mux, nil
}

// sessionListener is a Listener of one session, which goes with it: at once if
// it has no streams, and when its last stream has otherwise.
type sessionListener struct {
	*Listener
	session *Session
	once    sync.Once
	serving chan struct{} // closed at the first Accept, or Close
}

func newSessionListener(s *Session) *sessionListener {
	l := &sessionListener{Listener: NewListener(), session: s, serving: make(chan struct{})}
	l.Add(s)
	return l
}

func (l *sessionListener) begun() { l.once.Do(func() { close(l.serving) }) }

func (l *sessionListener) Accept() (net.Conn, error) {
	l.begun()
	return l.Listener.Accept()
}

func (l *sessionListener) Close() error {
	l.begun()
	err := l.Listener.Close()
	go func() { _ = l.session.Shutdown(context.Background()) }()
	return err
}

// DialGRPC returns a gRPC client on a WebSocket as the yamux client.
//
// It sends nothing before the first RPC, which opens one yamux stream; all
// RPCs share it. When the stream or the session ends, RPCs fail at once with
// Unavailable and a text that says why; a lost stream is opened again by the
// next RPC as long as the session lives. The caller closes the client and the
// session; closing the session alone is enough to free everything but the
// client's own memory.
//
// An error is about a nil wsConn.
func DialGRPC(wsConn *websocket.Conn) (*grpc.ClientConn, *yamux.Session, error) {
	session, err := NewSession(wsConn, Client, &Options{Window: DefaultWindow, shared: true})
	if err != nil {
		return nil, nil, err
	}
	cc, err := session.DialGRPC()
	if err != nil {
		_ = session.Close()
		return nil, nil, err
	}
	return cc, session.mux, nil
}

// DialGRPC returns a gRPC client on this session, as the function of the same
// name does. opts come after its own options and so go before them.
func (s *Session) DialGRPC(opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient("passthrough:///wsmux", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"), // as gRPC does where there is no host name
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			stream, err := s.Open(ctx)
			if err != nil {
				return nil, err
			}
			return grpcStream{stream}, nil
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMsgSize), grpc.MaxCallSendMsgSize(MaxMsgSize)),
		grpc.WithIdleTimeout(0), // idleness would close the one stream
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	return cc, nil
}

// grpcStream is a stream as gRPC uses it.
type grpcStream struct{ *Stream }

// Read is the stream's, but names the reason also when the session ended in
// order, because gRPC reports the error to its callers.
func (s grpcStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		if reason := s.session.Err(); reason != nil {
			err = fmt.Errorf("wsmux: session ended: %w", reason)
		}
	}
	return n, err
}
