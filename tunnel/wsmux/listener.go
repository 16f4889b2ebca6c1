package wsmux

import (
	"io"
	"log/slog"
	"net"
	"sync"
)

// maxStreams is how many streams of one session a Listener has open at a
// time. Further ones are closed: each costs the server a goroutine and a buffer.
const maxStreams = 16384

// maxRefused is how many streams beyond that may wait for their peers to close
// them, too. Then a Listener accepts no more, and yamux resets what comes.
const maxRefused = 1024

// Listener is a [net.Listener] of the streams that peers open, on every session
// that was added: one gRPC server serves them all. It can't be the session
// itself, because closing that would cut the RPCs that GracefulStop wants to
// wait for.
type Listener struct {
	streams    chan net.Conn
	closed     chan struct{}
	maxStreams int

	mu       sync.Mutex
	isClosed bool
	silent   map[*streamConn]struct{} // what hasn't sent its first bytes yet
}

// NewListener returns a listener without sessions.
func NewListener() *Listener {
	return &Listener{
		streams:    make(chan net.Conn),
		closed:     make(chan struct{}),
		maxStreams: maxStreams,
		silent:     map[*streamConn]struct{}{},
	}
}

// Add accepts the streams of s until s ends or takes no more.
func (l *Listener) Add(s *Session) { go l.acceptStreams(s) }

func (l *Listener) acceptStreams(s *Session) {
	open, refused := make(chan struct{}, l.maxStreams), make(chan struct{}, maxRefused)
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		select {
		case open <- struct{}{}:
		default:
			s.logger.Warn("stream refused", slog.Int("max_streams", l.maxStreams))
			refused <- struct{}{}
			go func() {
				refuse(stream)
				<-refused
			}()
			continue
		}
		c := &streamConn{Stream: stream, listener: l, open: open, need: http2Start}
		if !l.hear(c) {
			_ = c.Close()
			continue
		}
		select {
		case l.streams <- c:
		case <-l.closed:
			_ = c.Close()
		case <-s.Done():
			_ = c.Close()
		}
	}
}

// refuse ends a stream that there is no room for. The peer, which may take that
// for the end of one direction, gets to close it, too: else it would linger.
func refuse(stream *Stream) {
	_ = stream.CloseWrite()
	_, _ = io.Copy(io.Discard, stream)
	_ = stream.Close()
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
// come later are closed; the sessions stay up.
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
	go func() { // a stalled link would hold up the one that closes
		for c := range silent {
			_ = c.Close()
		}
	}()
	return nil
}

// hear waits for c's first bytes, unless l is closed.
func (l *Listener) hear(c *streamConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return false
	}
	l.silent[c] = struct{}{}
	return true
}

func (l *Listener) heard(c *streamConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.silent, c)
}

// Addr returns a stand-in, for the streams have no address in common.
func (l *Listener) Addr() net.Addr { return streamsAddr{} }

type streamsAddr struct{}

func (streamsAddr) Network() string { return "wsmux" }
func (streamsAddr) String() string  { return "streams" }

// streamConn is a stream that its listener still knows.
type streamConn struct {
	*Stream
	listener *Listener
	open     <-chan struct{} // holds a token for each stream of the session
	got      int             // bytes that have come, up to need
	need     int             // how many a gRPC server reads before it serves
	start    [http2Start]byte
	once     sync.Once
}

// http2Start is the least that a gRPC client sends before its first RPC: the
// connection preface and the header of a SETTINGS frame (RFC 9113 §3.4).
const (
	http2Preface = 24
	http2Start   = http2Preface + 9
)

func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	c.came(p[:n])
	return n, err
}

// PassOn is the stream's.
func (c *streamConn) PassOn(w TryWriter, ended func(error)) {
	c.Stream.PassOn(hearing{w, c}, ended)
}

// hearing is where what comes on conn is passed on to.
type hearing struct {
	TryWriter
	conn *streamConn
}

func (h hearing) Write(p []byte) (int, error) {
	n, err := h.TryWriter.Write(p)
	h.conn.came(p[:n])
	return n, err
}

func (h hearing) TryWrite(p []byte) (int, error) {
	n, err := h.TryWriter.TryWrite(p)
	h.conn.came(p[:n])
	return n, err
}

// came takes notice of what has come.
func (c *streamConn) came(p []byte) {
	if c.got >= c.need {
		return
	}
	if c.got < len(c.start) {
		copy(c.start[c.got:], p)
	}
	if c.got += len(p); c.got >= len(c.start) {
		settings := c.start[http2Preface:]
		c.need = http2Start + int(settings[0])<<16 + int(settings[1])<<8 + int(settings[2])
	}
	if c.got >= c.need {
		c.listener.heard(c)
	}
}

func (c *streamConn) Close() error {
	c.once.Do(func() {
		c.listener.heard(c)
		<-c.open
	})
	return c.Stream.Close()
}
