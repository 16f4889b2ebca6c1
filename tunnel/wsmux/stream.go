package wsmux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Stream is one yamux stream: a [net.Conn] whose two directions end
// separately. Deadlines work as net.Conn says.
type Stream struct {
	session *Session
	stream  *yamux.Stream
	once    sync.Once
	closed  atomic.Bool
}

// Read reads from the stream. It returns [io.EOF] once the peer has closed its
// direction, and an error that says why when the session ended under it.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.stream.Read(p)
	if err == nil {
		return n, nil
	}
	return n, s.readError(err)
}

func (s *Stream) readError(err error) error {
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.Is(err, io.EOF):
		// yamux also says io.EOF when the session is lost. After a session
		// that ended in order it stands for a stream that did, too.
		select {
		case <-s.session.Done():
			if end := s.session.t.end(); end != nil && s.session.t.readError(end) == io.EOF { //nolint:errorlint // io.EOF itself is a normal closure
				return io.EOF
			}
		default:
			return io.EOF
		}
	}
	return fmt.Errorf("wsmux: read stream %d: %w", s.stream.StreamID(), s.session.streamError(err))
}

// Write writes to the stream. It blocks while the peer's window is full.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.stream.Write(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, yamux.ErrTimeout):
		return n, os.ErrDeadlineExceeded
	case errors.Is(err, yamux.ErrStreamClosed) && !s.session.mux.IsClosed():
		return n, net.ErrClosed
	case errors.Is(err, yamux.ErrConnectionWriteTimeout):
		// The frame may still arrive: nothing on this session can be
		// trusted any more, least of all a second try.
		s.session.CloseWithError(fmt.Errorf("the link has been stalled for %v: %w", writeTimeout, err))
	}
	return n, fmt.Errorf("wsmux: write stream %d: %w", s.stream.StreamID(), s.session.streamError(err))
}

// CloseWrite tells the peer that no more data will come. Reading goes on.
func (s *Stream) CloseWrite() error { return s.stream.Close() }

// Close ends both directions. A Read that is blocked returns [net.ErrClosed].
func (s *Stream) Close() error {
	var err error
	s.once.Do(func() {
		s.closed.Store(true)
		err = s.stream.Close()
		// yamux's Close is a half-close: without this a blocked Read would
		// go on until the peer closes, or closeTimeout.
		_ = s.stream.SetReadDeadline(longAgo)
		s.session.release()
	})
	return err
}

// Shrink gives back the memory of the receive buffer if it is empty.
func (s *Stream) Shrink() { s.stream.Shrink() }

// LocalAddr returns the local address of the WebSocket and the stream's number.
func (s *Stream) LocalAddr() net.Addr { return streamAddr{s.session.LocalAddr(), s.stream.StreamID()} }

// RemoteAddr returns the peer's address and the stream's number.
func (s *Stream) RemoteAddr() net.Addr {
	return streamAddr{s.session.RemoteAddr(), s.stream.StreamID()}
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error { return s.stream.SetDeadline(t) }

// SetReadDeadline sets the deadline of Read calls, pending ones included.
func (s *Stream) SetReadDeadline(t time.Time) error {
	if s.closed.Load() {
		return net.ErrClosed // and keeps the deadline that Close has set
	}
	return s.stream.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write calls, pending ones included.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.stream.SetWriteDeadline(t) }

// streamAddr tells the streams of one session apart.
type streamAddr struct {
	session net.Addr
	stream  uint32
}

func (a streamAddr) Network() string { return "wsmux" }
func (a streamAddr) String() string  { return fmt.Sprintf("%v#%d", a.session, a.stream) }
