package forward

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/h2"
)

// unavailableWait bounds how long a connection that can't be forwarded waits for its
// first call, and then for the client to close it.
const unavailableWait = 5 * time.Second

// answerUnavailable fails the first call on conn, and those that arrive at the same
// time, with UNAVAILABLE and the reason. Then it closes conn, so that the client
// connects again. If there is no call, it closes conn soon after ctx ends or up is
// closed, because the next connection may be forwarded. It closes a connection that
// doesn't carry HTTP/2 at once. It blocks until conn is closed.
func answerUnavailable(ctx context.Context, conn net.Conn, reason error, up <-chan struct{}) {
	answered := make(chan struct{})
	var once sync.Once
	l := newOneConnListener(conn)
	srv := grpc.NewServer(
		grpc.ConnectionTimeout(unavailableWait),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: unavailableWait}),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			once.Do(func() { close(answered) })
			// After the GOAWAY the client makes its next call on a new connection.
			l.conn.wait(l.conn.goneAway, lastCallWait)
			return status.Error(codes.Unavailable, "wstun: "+reason.Error())
		}),
	)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-answered:
		case <-l.conn.closed:
		case <-up:
			l.conn.wait(answered, lastCallWait)
		case <-ctx.Done():
			l.conn.wait(answered, lastCallWait)
		}
		if !l.conn.prefaceDone.Load() { // GracefulStop would wait for the preface
			_ = l.conn.Close()
		}
		stuck := time.AfterFunc(unavailableWait, func() { _ = l.conn.Close() })
		defer stuck.Stop()
		srv.GracefulStop()
	})
	_ = srv.Serve(l)
	wg.Wait()
}

// oneConnListener is a listener of one connection.
type oneConnListener struct {
	conn  *scannedConn
	conns chan net.Conn // holds conn until it is accepted
	once  sync.Once
	done  chan struct{} // closed by Close
}

func newOneConnListener(conn net.Conn) *oneConnListener {
	l := &oneConnListener{conn: newScannedConn(conn), conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- l.conn
	return l
}

func (l *oneConnListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return. The connection stays open.
func (l *oneConnListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *oneConnListener) Addr() net.Addr { return l.conn.LocalAddr() }

// scannedConn is the server's end of an HTTP/2 connection. Read fails at the first byte
// that isn't HTTP/2.
type scannedConn struct {
	net.Conn
	received, sent *h2.Scanner
	prefaceDone    atomic.Bool   // the client's preface is complete
	goneAway       chan struct{} // closed when a GOAWAY has been sent

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
}

func newScannedConn(conn net.Conn) *scannedConn {
	c := &scannedConn{
		Conn: conn, received: h2.NewScanner(h2.FromClient, h2.Visitor{}),
		goneAway: make(chan struct{}), closed: make(chan struct{}),
	}
	var once sync.Once
	c.sent = h2.NewScanner(h2.FromServer, h2.Visitor{End: func(h h2.Header) {
		if h.Type == http2.FrameGoAway {
			once.Do(func() { close(c.goneAway) })
		}
	}})
	return c
}

func (c *scannedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Scan(p[:n])
	if err := c.received.Err(); err != nil {
		return 0, err
	}
	c.prefaceDone.Store(c.received.PrefaceDone())
	return n, err
}

func (c *scannedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Scan(p[:n])
	return n, err
}

func (c *scannedConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// wait waits for event, for d, or until c is closed.
func (c *scannedConn) wait(event <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-event:
	case <-c.closed:
	case <-timer.C:
	}
}
