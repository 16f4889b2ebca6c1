package tunnel

import (
	"net"
	"sync"
)

// StreamListener is a [net.Listener] of the streams that peers open, on every
// session that was added: one gRPC server serves them all.
type StreamListener struct {
	streams chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// NewStreamListener returns a listener without sessions.
func NewStreamListener() *StreamListener {
	return &StreamListener{streams: make(chan net.Conn), closed: make(chan struct{})}
}

// Add accepts the streams of s until s ends or takes no more.
func (l *StreamListener) Add(s *Session) { go l.acceptStreams(s) }

func (l *StreamListener) acceptStreams(s *Session) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		select {
		case l.streams <- stream:
		case <-l.closed:
			_ = stream.Close()
		}
	}
}

// Accept waits for a stream. It returns [net.ErrClosed] after Close.
func (l *StreamListener) Accept() (net.Conn, error) {
	select {
	case stream := <-l.streams:
		return stream, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return. Streams that come later are closed; the sessions
// stay up.
func (l *StreamListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a stand-in, for the streams have no address in common.
func (l *StreamListener) Addr() net.Addr { return streamsAddr{} }

type streamsAddr struct{}

func (streamsAddr) Network() string { return "wsmux" }
func (streamsAddr) String() string  { return "streams" }
