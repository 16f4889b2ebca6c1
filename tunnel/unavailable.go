package tunnel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// unavailableWait bounds how long a connection that can't be forwarded stays
	// open for its first call, and then how long for its client to close it.
	unavailableWait = 5 * time.Second

	// lastCallWait is the time for a call that has been sent already, when there
	// is no point in waiting for others.
	lastCallWait = 250 * time.Millisecond
)

// answerUnavailable answers the first call on conn, and those that come with
// it, with UNAVAILABLE and the reason, then closes conn, so that the client
// dials again. Without a call it closes conn soon after up is closed, because
// the next try may then succeed, or ctx has ended. A client that doesn't speak
// HTTP/2 is cut at once. answerUnavailable returns when conn is closed.
func answerUnavailable(ctx context.Context, conn net.Conn, reason error, up <-chan struct{}) {
	answered := make(chan struct{})
	var once sync.Once
	l := newOneConn(conn)
	srv := grpc.NewServer(
		grpc.ConnectionTimeout(unavailableWait),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: unavailableWait}),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			once.Do(func() { close(answered) })
			// Told to go away first, the client doesn't make its next call here.
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
		if !l.conn.begun.Load() { // GracefulStop would wait for the preface
			_ = l.conn.Close()
		}
		stuck := time.AfterFunc(unavailableWait, func() { _ = l.conn.Close() })
		defer stuck.Stop()
		srv.GracefulStop()
	})
	_ = srv.Serve(l)
	wg.Wait()
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn  *prefacedConn
	conns chan net.Conn // conn, until it is accepted
	once  sync.Once
	done  chan struct{} // closed by Close
}

func newOneConn(conn net.Conn) *oneConn {
	l := &oneConn{
		conn:  &prefacedConn{Conn: conn, goneAway: make(chan struct{}), closed: make(chan struct{})},
		conns: make(chan net.Conn, 1),
		done:  make(chan struct{}),
	}
	l.conns <- l.conn
	return l
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; the connection is the server's.
func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// prefacedConn is the server's end of a connection that must begin with HTTP/2's
// preface: the first byte that differs ends reading.
type prefacedConn struct {
	net.Conn
	got   int         // bytes of the preface
	begun atomic.Bool // the preface is complete

	goAwayOnce sync.Once
	goneAway   chan struct{} // closed when GOAWAY has been sent
	closeOnce  sync.Once
	closed     chan struct{} // closed by Close
}

var errNotHTTP2 = errors.New("not HTTP/2")

func (c *prefacedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, b := range p[:n] {
		if c.got == len(h2Preface) {
			break
		}
		if b != h2Preface[c.got] {
			return 0, errNotHTTP2
		}
		c.got++
	}
	if c.got == len(h2Preface) {
		c.begun.Store(true)
	}
	return n, err
}

// Write expects whole frames, which is what grpc's server writes as long as they
// are small.
func (c *prefacedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	for len(p) >= h2HeaderSize {
		if p[3] == h2GoAway {
			c.goAwayOnce.Do(func() { close(c.goneAway) })
		}
		payload := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
		p = p[min(len(p), h2HeaderSize+payload):]
	}
	return n, err
}

func (c *prefacedConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// wait waits for d, less if c is closed or what is waited for happens before.
func (c *prefacedConn) wait(event <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-event:
	case <-c.closed:
	case <-timer.C:
	}
}
