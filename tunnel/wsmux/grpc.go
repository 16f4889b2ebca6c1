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

// ServerOptions returns the options of the server that [ServeGRPC] makes: both
// message limits at [MaxMsgSize], and patience with clients that ping.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
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
	session, err := NewSession(wsConn, Server, nil)
	if err != nil {
		return nil, nil, err
	}
	srv := grpc.NewServer(ServerOptions()...)
	register(srv)
	l := newListener(session)
	go func() {
		// Serve ends with the session, or with Stop and GracefulStop, which
		// close the listener and with it, in due course, the session.
		_ = srv.Serve(l)
		l.begun()
		<-session.Done()
		srv.Stop()
	}()
	<-l.serving
	return srv, session.mux, nil
}

// listener accepts the streams of one session. It can't be the session itself:
// closing that would cut the RPCs that GracefulStop wants to wait for.
type listener struct {
	session *Session
	once    sync.Once
	serving chan struct{} // closed at the first Accept

	mu     sync.Mutex
	silent map[*grpcConn]struct{} // what hasn't sent its first bytes yet; nil after Close
}

func newListener(s *Session) *listener {
	return &listener{session: s, serving: make(chan struct{}), silent: make(map[*grpcConn]struct{})}
}

func (l *listener) begun() { l.once.Do(func() { close(l.serving) }) }

func (l *listener) Accept() (net.Conn, error) {
	l.begun()
	stream, err := l.session.Accept()
	if err != nil {
		return nil, err
	}
	c := &grpcConn{Stream: stream, listener: l}
	l.mu.Lock()
	open := l.silent != nil
	if open {
		l.silent[c] = struct{}{}
	}
	l.mu.Unlock()
	if !open {
		_ = stream.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close stops accepting. The session goes when its last stream has. A stream
// on which no HTTP/2 has begun is closed at once: the server would wait two
// minutes for it.
func (l *listener) Close() error {
	l.mu.Lock()
	silent := l.silent
	l.silent = nil
	l.mu.Unlock()
	go func() {
		for c := range silent {
			_ = c.Stream.Close()
		}
		_ = l.session.Shutdown(context.Background())
	}()
	return nil
}

func (l *listener) Addr() net.Addr { return l.session.LocalAddr() }

// grpcConn is a stream as gRPC uses it.
type grpcConn struct {
	*Stream
	listener *listener // that accepted it, if one did
	got      int       // bytes read so far
}

// http2Start is the least that a gRPC client sends before its first RPC: the
// connection preface and the header of a SETTINGS frame (RFC 9113 §3.4).
const http2Start = 24 + 9

// Read is the stream's, but names the reason also when the session ended in
// order, because gRPC reports the error to its callers.
func (c *grpcConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if c.listener != nil && c.got < http2Start {
		if c.got += n; c.got >= http2Start {
			c.listener.forget(c)
		}
	}
	if err == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		if reason := c.session.Err(); reason != nil {
			err = fmt.Errorf("wsmux: session ended: %w", reason)
		}
	}
	return n, err
}

func (c *grpcConn) Close() error {
	if c.listener != nil {
		c.listener.forget(c)
	}
	return c.Stream.Close()
}

func (l *listener) forget(c *grpcConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, c)
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
	session, err := NewSession(wsConn, Client, nil)
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
			return &grpcConn{Stream: stream}, nil
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMsgSize), grpc.MaxCallSendMsgSize(MaxMsgSize)),
		grpc.WithIdleTimeout(0), // idleness would close the one stream
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	return cc, nil
}
