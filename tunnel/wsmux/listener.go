package wsmux

import (
	"net"
	"sync"

	"github.com/wstun/wstun/tunnel/h2"
)

// Listener is a [net.Listener] that returns the streams that peers open, on every
// session that was added, so that one gRPC server can serve them all. A session isn't
// a listener itself: GracefulStop closes its listeners first, and closing the session
// would end the RPCs that it then waits for.
type Listener struct {
	streams chan net.Conn
	closed  chan struct{}

	mu       sync.Mutex
	isClosed bool
	silent   map[*prefaceScanner]struct{} // streams whose HTTP/2 preface hasn't arrived; nil once closed
}

// NewListener returns a listener without sessions.
func NewListener() *Listener {
	return &Listener{
		streams: make(chan net.Conn),
		closed:  make(chan struct{}),
		silent:  map[*prefaceScanner]struct{}{},
	}
}

// Add starts to accept the streams of s, until s ends or is shut down. It doesn't
// block.
func (l *Listener) Add(s *Session) {
	go s.AcceptEach(func(stream Conn) {
		p := newPrefaceScanner(l, stream)
		l.deliver(&streamConn{stream, p}, p, s.Done())
	})
}

// deliver makes Accept return c. It closes c if the listener or done is closed first.
func (l *Listener) deliver(c net.Conn, p *prefaceScanner, done <-chan struct{}) {
	if !l.addSilent(p) {
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

// Close makes Accept return, and closes the streams whose HTTP/2 preface hasn't
// arrived, because a gRPC server that stops would wait two minutes for that. It also
// closes streams that arrive later. The sessions stay up.
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
	go func() { // closing a hashicorp/yamux stream may block on a stalled link
		for p := range silent {
			_ = p.stream.Close()
		}
	}()
	return nil
}

// addSilent adds p to l.silent. It returns false if l is closed.
func (l *Listener) addSilent(p *prefaceScanner) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return false
	}
	l.silent[p] = struct{}{}
	return true
}

func (l *Listener) removeSilent(p *prefaceScanner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, p)
}

// Addr returns a placeholder, because the streams have no address in common.
func (l *Listener) Addr() net.Addr { return streamsAddr{} }

type streamsAddr struct{}

func (streamsAddr) Network() string { return "wsmux" }
func (streamsAddr) String() string  { return "streams" }

// prefaceScanner scans the first bytes of a stream for the HTTP/2 preface. A gRPC server
// can't stop serving a connection before it has read the client's preface.
type prefaceScanner struct {
	listener *Listener
	stream   net.Conn
	scanner  *h2.Scanner // nil once the preface is complete
}

func newPrefaceScanner(l *Listener, stream net.Conn) *prefaceScanner {
	return &prefaceScanner{listener: l, stream: stream, scanner: h2.NewScanner(h2.FromClient, h2.Visitor{})}
}

// receive scans data, which the server has read. A stream that doesn't carry HTTP/2
// stays in the listener: a gRPC server reads 24 bytes before it closes it.
func (p *prefaceScanner) receive(data []byte) {
	if p.scanner == nil {
		return
	}
	p.scanner.Scan(data)
	if p.scanner.PrefaceDone() {
		p.scanner = nil
		p.stop()
	}
}

// stop removes p from the listener.
func (p *prefaceScanner) stop() { p.listener.removeSilent(p) }

// streamConn is a stream that Listener.Accept returns.
type streamConn struct {
	Conn
	preface *prefaceScanner
}

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.preface.receive(p[:n])
	return n, err
}

func (c *streamConn) Close() error {
	c.preface.stop()
	return c.Conn.Close()
}
