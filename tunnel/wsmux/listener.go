package wsmux

import (
	"net"
	"sync"

	"github.com/wstun/wstun/tunnel/mux"
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

// http2Start is the least that a gRPC client sends before its first RPC: the
// connection preface and the header of a SETTINGS frame (RFC 9113 §3.4).
const (
	http2Preface = 24
	http2Start   = http2Preface + 9
)

// greeting follows the first bytes of a stream until a gRPC server is able to
// stop serving it.
type greeting struct {
	listener *Listener
	stream   net.Conn
	got      int // bytes received, up to need
	need     int // how many a gRPC server reads before it serves
	start    [http2Start]byte
}

func newGreeting(l *Listener, stream net.Conn) *greeting {
	return &greeting{listener: l, stream: stream, need: http2Start}
}

// receive follows p, which has been read.
func (g *greeting) receive(p []byte) {
	if g.got >= g.need {
		return
	}
	if g.got < len(g.start) {
		copy(g.start[g.got:], p)
	}
	if g.got += len(p); g.got >= len(g.start) {
		settings := g.start[http2Preface:]
		g.need = http2Start + int(settings[0])<<16 + int(settings[1])<<8 + int(settings[2])
	}
	if g.got >= g.need {
		g.end()
	}
}

// end has the listener forget the greeting.
func (g *greeting) end() { g.listener.received(g) }

// streamConn is a stream that a Listener has accepted.
type streamConn struct {
	*Stream
	greeting *greeting
}

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	c.greeting.receive(p[:n])
	return n, err
}

// ForwardTo is that of Stream.
func (c *streamConn) ForwardTo(w mux.TryWriter, ended func(error)) {
	c.Stream.ForwardTo(greetedWriter{w, c.greeting}, ended)
}

// greetedWriter follows the bytes that a stream is forwarded to.
type greetedWriter struct {
	mux.TryWriter
	greeting *greeting
}

func (w greetedWriter) Write(p []byte) (int, error) {
	n, err := w.TryWriter.Write(p)
	w.greeting.receive(p[:n])
	return n, err
}

func (w greetedWriter) TryWrite(p []byte) (int, error) {
	n, err := w.TryWriter.TryWrite(p)
	w.greeting.receive(p[:n])
	return n, err
}

func (c *streamConn) Close() error {
	c.greeting.end()
	return c.Stream.Close()
}
