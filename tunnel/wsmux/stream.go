package wsmux

import (
	"encoding/binary"
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
	stream  *yamux.Stream // which opens and closes it
	ends    *ends
	source  source // what is read

	mu           sync.Mutex // also held while a deadline is set
	closed       bool
	halfClosed   time.Time // when CloseWrite was called
	readDeadline time.Time

	writeDeadline *deadline
	sending       sync.Mutex // held while writing; it guards:
	header        [yamuxHeaderSize]byte

	reads     atomic.Uint64
	shrinking atomic.Bool // whether idleness is being waited for
}

// source is an inbox, or a stream of yamux's.
type source interface {
	Read(p []byte) (int, error)
	SetReadDeadline(t time.Time) error
	Shrink()
}

// shrinkWait is how long a stream is idle until it gives back its receive
// buffer, which yamux only ever lets grow, up to the window.
const shrinkWait = time.Second

func newStream(s *Session, stream *yamux.Stream) *Stream {
	st := &Stream{session: s, stream: stream, ends: s.endsOf(stream.StreamID()), writeDeadline: newDeadline(nil)}
	if st.source = stream; st.ends.in != nil {
		st.source = st.ends.in
	}
	return st
}

// Read reads from the stream. It returns [io.EOF] once the peer has closed its
// direction, or the whole session with a normal closure, and an error that
// says why when the session ended otherwise.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.enterRead(); err != nil {
		return 0, err
	}
	n, err := s.source.Read(p)
	if err != nil {
		return n, s.readError(err)
	}
	s.noteRead()
	return n, nil
}

// PassOn has what comes written to w, and returns at once. What w takes without
// waiting is written in the goroutine that receives for the whole session, which
// saves a copy and a change of goroutine, and so a goroutine while nothing comes.
// The rest is written in one that lives as long as w has to be waited for. Calls
// of w's methods follow one another. Nothing else may read until ended is called.
//
// When the peer has closed its direction, or something fails, ended is called in
// a goroutine of its own: with nil in the first case, else with w's error, or the
// one that Read would have returned.
func (s *Stream) PassOn(w TryWriter, ended func(error)) {
	if s.ends.in == nil {
		go func() {
			_, err := io.Copy(w, struct{ io.Reader }{s})
			ended(err)
		}()
		return
	}
	if err := s.enterRead(); err != nil {
		go ended(err)
		return
	}
	s.ends.in.passOn(w, s.noteRead, func(readErr, writeErr error) {
		if writeErr == nil {
			if writeErr = s.readError(readErr); writeErr == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
				writeErr = nil
			}
		}
		ended(writeErr)
	})
}

// noteRead has the receive buffer given back once there have been no more reads
// for a while.
func (s *Stream) noteRead() {
	if reads := s.reads.Add(1); s.shrinking.CompareAndSwap(false, true) {
		s.shrinkWhenIdle(reads)
	}
}

func (s *Stream) shrinkWhenIdle(reads uint64) {
	time.AfterFunc(shrinkWait, func() {
		if now := s.reads.Load(); now != reads {
			s.shrinkWhenIdle(now)
			return
		}
		s.shrinking.Store(false)
		s.source.Shrink()
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
	s.sending.Lock()
	defer s.sending.Unlock()
	for n := 0; ; {
		k, err := s.mayWrite(len(p) - n)
		if err == nil && k > 0 {
			err = s.send(p[n : n+k])
		}
		if err != nil {
			return n, s.opError("write", err)
		}
		if n += k; n == len(p) {
			return n, nil
		}
	}
}

// mayWrite returns how much of n bytes may be sent now.
func (s *Stream) mayWrite(n int) (int, error) {
	s.mu.Lock()
	ended := s.closed || !s.halfClosed.IsZero()
	s.mu.Unlock()
	switch {
	case ended:
		return 0, yamux.ErrStreamClosed
	case s.writeDeadline.passed():
		return 0, yamux.ErrTimeout
	case n == 0:
		return 0, nil
	}
	return s.ends.out.take(uint32(min(n, mostData)), s.writeDeadline.done()) //nolint:gosec // not negative
}

// send sends a data frame, past yamux: it would copy p and have it pass through
// two more goroutines.
func (s *Stream) send(p []byte) error {
	h := s.header[:] // of type yamuxTypeData, without flags
	binary.BigEndian.PutUint32(h[4:], s.stream.StreamID())
	binary.BigEndian.PutUint32(h[8:], uint32(len(p))) //nolint:gosec // mostData at the most
	err := s.session.t.send(h, p)
	if err != nil {
		err = s.session.sendFailed(err)
		<-s.session.Done() // which knows best why
	}
	return err
}

// enterRead returns the error with which a Read that begins now fails at once.
func (s *Stream) enterRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case !s.readDeadline.IsZero() && !time.Now().Before(s.readDeadline):
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
	s.expire()
}

// expire has both deadlines pass. s.mu is held.
func (s *Stream) expire() {
	_ = s.source.SetReadDeadline(longAgo)
	s.writeDeadline.set(longAgo)
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
	s.shut(func() { _ = s.stream.Close() })
	return nil
}

// Reset is Close for a stream that doesn't end in order: the peer's Read and Write
// fail, too, also one that waits for this end to read.
func (s *Stream) Reset() error {
	s.shut(func() { s.session.reset(s.stream.StreamID(), s.ends) })
	return nil
}

// shut ends both directions, and tells the peer with tell.
func (s *Stream) shut(tell func()) {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	if !closed {
		// yamux's Close is a half-close: without this a blocked Read would
		// go on until the peer closes, or for halfCloseTimeout.
		s.expire()
	}
	s.mu.Unlock()
	if closed {
		return
	}
	sent := make(chan struct{})
	go func() {
		tell()
		close(sent)
	}()
	timer := time.NewTimer(closeFrameWait)
	defer timer.Stop()
	select {
	case <-sent:
	case <-timer.C:
	}
	if s.ends.in != nil {
		s.ends.in.close()
	}
	s.session.release(s)
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
	return s.setDeadline(func() error {
		s.readDeadline = t
		return s.source.SetReadDeadline(t)
	})
}

// SetWriteDeadline sets the deadline of Write calls, pending ones included.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.setDeadline(func() error {
		s.writeDeadline.set(t)
		return nil
	})
}

func (s *Stream) setDeadline(set func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed // and keeps the deadline that Close has set
	case s.session.ending.Load():
		return nil // and keeps that of wake
	}
	return set()
}

// streamAddr tells the streams of one session apart.
type streamAddr struct {
	session net.Addr
	stream  uint32
}

func (a streamAddr) Network() string { return "wsmux" }
func (a streamAddr) String() string  { return fmt.Sprintf("%v#%d", a.session, a.stream) }
