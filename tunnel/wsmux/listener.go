package wsmux

import (
	"net"
	"sync"

	"github.com/wstun/wstun/tunnel/h2"
)

// Listener is a [net.Listener] of the streams that peers open, on every session
// that was added: one gRPC server serves them all. The session itself can't be
// the listener, because closing that would cut the RPCs that GracefulStop waits
// for.
type Listener struct {
	streams chan net.Conn
	closed  chan struct{}

	mu       sync.Mutex
	isClosed bool
	silent   map[*greeting]struct{} // of streams on which no HTTP/2 has begun
}

// NewListener returns a listener without sessions.
func NewListener() *Listener {
	return &Listener{
		streams: make(chan net.Conn),
		closed:  make(chan struct{}),
		silent:  map[*greeting]struct{}{},
	}
}

// Add accepts the streams of s until s ends or is shut down.
func (l *Listener) Add(s *Session) {
	go func() {
		for {
			stream, err := s.Accept()
			if err != nil {
				return
			}
			g := newGreeting(l, stream)
			l.offer(&streamConn{stream, g}, g, s.Done())
		}
	}()
}

// offer has Accept return c, or closes it when the listener is closed or done is.
func (l *Listener) offer(c net.Conn, g *greeting, done <-chan struct{}) {
	if !l.await(g) {
		_ = c.Close()
		return
	}
	select {
	case l.streams <- c:
	case <-l.closed:
		_ = c.Close()
	case <-done:
		_ = c.Close()
	}
}

// Accept waits for a stream. It returns [net.ErrClosed] after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case stream := <-l.streams:
		return stream, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return and closes the streams on which no HTTP/2 has begun:
// a gRPC server that is stopping would wait two minutes for it. Streams that
// arrive later are closed; the sessions stay up.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.isClosed {
		l.mu.Unlock()
		return nil
	}
	l.isClosed = true
	close(l.closed)
	silent := l.silent
	l.silent = nil
	l.mu.Unlock()
	go func() { // closing a yamux stream may block on a stalled link
		for g := range silent {
			_ = g.stream.Close()
		}
	}()
	return nil
}

// await records that g hasn't been received yet. It returns false if l is closed.
func (l *Listener) await(g *greeting) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return false
	}
	l.silent[g] = struct{}{}
	return true
}

func (l *Listener) received(g *greeting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, g)
}

// Addr returns a placeholder, because the streams have no address in common.
func (l *Listener) Addr() net.Addr { return streamsAddr{} }

type streamsAddr struct{}

func (streamsAddr) Network() string { return "wsmux" }
func (streamsAddr) String() string  { return "streams" }

// greeting scans the first bytes of a stream until a gRPC server is able to stop
// serving it: it reads the client's preface and SETTINGS before it does anything else.
type greeting struct {
	listener *Listener
	stream   net.Conn
	scanner  *h2.Scanner // nil once the greeting has been received
}

func newGreeting(l *Listener, stream net.Conn) *greeting {
	return &greeting{listener: l, stream: stream, scanner: h2.NewScanner(h2.FromClient, h2.Visitor{})}
}

// receive scans p, which has been read. A gRPC server closes a stream with another
// protocol at once.
func (g *greeting) receive(p []byte) {
	if g.scanner == nil {
		return
	}
	g.scanner.Scan(p)
	if g.scanner.Greeted() || g.scanner.Err() != nil {
		g.scanner = nil
		g.end()
	}
}

// end makes the listener forget the greeting.
func (g *greeting) end() { g.listener.received(g) }

// streamConn is a stream that a Listener has accepted.
type streamConn struct {
	net.Conn
	greeting *greeting
}

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.greeting.receive(p[:n])
	return n, err
}

func (c *streamConn) Close() error {
	c.greeting.end()
	return c.Conn.Close()
}
