package tunnel

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// unavailableWait bounds how long a connection that can't be forwarded stays
// open for its first call.
const unavailableWait = 5 * time.Second

// answerUnavailable answers the first call on conn, and those that come with
// it, with UNAVAILABLE and the reason, then closes conn, so that the client
// dials again. A client that doesn't speak HTTP/2 is cut at once. It returns
// when conn is closed.
func answerUnavailable(conn net.Conn, reason error) {
	answered := make(chan struct{})
	var once sync.Once
	srv := grpc.NewServer(
		grpc.ConnectionTimeout(unavailableWait),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: unavailableWait}),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			once.Do(func() { close(answered) })
			return status.Error(codes.Unavailable, "wstun: "+reason.Error())
		}),
	)
	l := &oneConn{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- &notifyConn{Conn: conn, closed: l.closeDone}
	go func() {
		select {
		case <-answered:
			srv.GracefulStop()
		case <-l.done:
			srv.Stop()
		}
	}()
	_ = srv.Serve(l)
	<-l.done
}

// oneConn is a listener of one connection, done when that is closed.
type oneConn struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *oneConn) closeDone() { l.once.Do(func() { close(l.done) }) }

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { return nil } // the connection's end is the listener's
func (l *oneConn) Addr() net.Addr { return streamsAddr{} }

// notifyConn tells when it is closed.
type notifyConn struct {
	net.Conn
	closed func()
}

func (c *notifyConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
