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

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// Stream is one yamux stream: a [net.Conn] whose two directions end
// separately. A Write that waits for the peer to read obeys its deadline and
// Close; one that waits for a stalled link returns when the link moves, and
// ends the session after a minute.
type Stream struct {
	session *Session
	stream  *yamux.Stream
	window  *receiveWindow // nil: yamux's own

	mu            sync.Mutex // also held while yamux is told a deadline
	closed        bool
	halfClosed    time.Time // when CloseWrite was called
	readDeadline  time.Time
	writeDeadline time.Time

	reads     atomic.Uint64
	shrinking atomic.Bool // whether idleness is being waited for
}

// shrinkWait is how long a stream is idle until it gives back its receive
// buffer, which yamux only ever lets grow, up to the window.
const shrinkWait = time.Second

// Read reads from the stream. It returns [io.EOF] once the peer has closed its
// direction, or the whole session with a normal closure, and an error that
// says why when the session ended otherwise.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.enter(&s.readDeadline); err != nil {
		return 0, err
	}
	n, err := s.stream.Read(p)
	if err != nil {
		return n, s.readError(err)
	}
	if s.window != nil {
		s.noteRead(n)
	}
	if reads := s.reads.Add(1); s.shrinking.CompareAndSwap(false, true) {
		s.shrinkWhenIdle(reads)
	}
	return n, nil
}

// shrinkWhenIdle gives back the receive buffer once there have been no more
// reads for a while.
func (s *Stream) shrinkWhenIdle(reads uint64) {
	time.AfterFunc(shrinkWait, func() {
		if now := s.reads.Load(); now != reads {
			s.shrinkWhenIdle(now)
			return
		}
		s.shrinking.Store(false)
		s.stream.Shrink()
	})
}

func (s *Stream) readError(err error) error {
	if s.woken(err) {
		err = io.EOF // as if yamux had noticed that the session has ended
	}
	if errors.Is(err, io.EOF) && !s.lost() {
		return io.EOF
	}
	return s.opError("read", err)
}

// lost reports whether yamux's io.EOF stands for a stream that was given up
// and not for one that the peer has closed.
func (s *Stream) lost() bool {
	select {
	case <-s.session.Done():
		ce, ok := errors.AsType[*websocket.CloseError](s.session.Err())
		return !ok || !isNormalClosure(ce)
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || !s.halfClosed.IsZero() && time.Since(s.halfClosed) >= halfCloseTimeout
}

// Write writes to the stream. It blocks while the peer's window is full.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.enter(&s.writeDeadline); err != nil {
		return 0, err
	}
	n, err := s.stream.Write(p)
	if err == nil {
		return n, nil
	}
	return n, s.opError("write", err)
}

// enter returns the error with which a call that begins now fails at once.
func (s *Stream) enter(deadline *time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case !deadline.IsZero() && !time.Now().Before(*deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// woken reports whether err is that of wake. The session's end follows at once.
func (s *Stream) woken(err error) bool {
	if !errors.Is(err, yamux.ErrTimeout) || !s.session.ending.Load() {
		return false
	}
	<-s.session.Done()
	return true
}

// wake ends a Read and a Write that wait, and all that follow.
func (s *Stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.stream.SetDeadline(longAgo)
}

func (s *Stream) opError(op string, err error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed, errors.Is(err, yamux.ErrStreamClosed) && !s.session.mux.IsClosed():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrTimeout) && !s.woken(err):
		return os.ErrDeadlineExceeded
	case errors.Is(err, io.EOF) && !s.session.mux.IsClosed():
		err = fmt.Errorf("half-closed for %v: %w", halfCloseTimeout, yamux.ErrConnectionReset)
	}
	return fmt.Errorf("wsmux: %s stream %d: %w", op, s.stream.StreamID(), s.session.streamError(err))
}

// CloseWrite tells the peer that no more data will come. Reading goes on, for
// five minutes: yamux then resets the stream if the peer hasn't closed it.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	if s.halfClosed.IsZero() {
		s.halfClosed = time.Now()
	}
	s.mu.Unlock()
	return s.stream.Close()
}

// Close ends both directions. A Read or Write that waits for the peer returns
// [net.ErrClosed]. On a stalled link Close returns before the peer has been told.
func (s *Stream) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	if !closed {
		// yamux's Close is a half-close: without this a blocked Read would
		// go on until the peer closes, or for halfCloseTimeout.
		_ = s.stream.SetDeadline(longAgo)
	}
	s.mu.Unlock()
	if closed {
		return nil
	}
	sent := make(chan struct{})
	go func() {
		_ = s.stream.Close()
		close(sent)
	}()
	timer := time.NewTimer(closeFrameWait)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	}
	if s.window != nil {
		s.window.release(s.session)
	}
	s.session.release(s)
	return nil
}

// Session returns the session that the stream is on.
func (s *Stream) Session() *Session { return s.session }

// LocalAddr returns the local address of the WebSocket and the stream's number.
func (s *Stream) LocalAddr() net.Addr { return streamAddr{s.session.LocalAddr(), s.stream.StreamID()} }

// RemoteAddr returns the peer's address and the stream's number.
func (s *Stream) RemoteAddr() net.Addr {
	return streamAddr{s.session.RemoteAddr(), s.stream.StreamID()}
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read calls, pending ones included.
func (s *Stream) SetReadDeadline(t time.Time) error {
	return s.setDeadline(&s.readDeadline, t, s.stream.SetReadDeadline)
}

// SetWriteDeadline sets the deadline of Write calls, pending ones included.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.setDeadline(&s.writeDeadline, t, s.stream.SetWriteDeadline)
}

func (s *Stream) setDeadline(deadline *time.Time, t time.Time, set func(time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed // and keeps the deadline that Close has set
	}
	*deadline = t
	if s.session.ending.Load() {
		return nil // and keeps that of wake
	}
	return set(t)
}

// streamAddr tells the streams of one session apart.
type streamAddr struct {
	session net.Addr
	stream  uint32
}

func (a streamAddr) Network() string { return "wsmux" }
func (a streamAddr) String() string  { return fmt.Sprintf("%v#%d", a.session, a.stream) }
