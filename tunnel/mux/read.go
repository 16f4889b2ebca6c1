package mux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Read reads from the stream. At the end, the error is io.EOF if the peer has closed
// its direction or closed the session in order, ErrReset (wrapped) after a reset,
// and otherwise why the session ended.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := s.readDeadline.passed()
	for {
		err := s.readErr()
		switch {
		case s.closed:
			return 0, err
		case late:
			return 0, os.ErrDeadlineExceeded
		case err != nil:
			return 0, err
		case s.recv.size > 0:
			n := s.recv.read(p)
			s.consumed(n)
			if s.recv.size > 0 {
				s.readable.Signal() // for another pending Read
			}
			return n, nil
		case s.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		}
		s.readable.Wait()
	}
}

// Buffered returns how many bytes Read returns without blocking.
func (s *Stream) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recv.size
}

// readErr returns the error that Read returns at the end, or nil while there are
// unread bytes or more may arrive. The caller holds s.mu.
func (s *Stream) readErr() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.reset != nil:
		return s.opError("read", s.reset)
	case s.recv.size > 0:
		return nil
	case s.finReceived:
		return io.EOF
	case s.sessionOver:
		if err := s.session.Err(); !errors.Is(err, io.EOF) {
			return s.opError("read", fmt.Errorf("session ended: %w", err))
		}
		return io.EOF
	}
	return nil
}

// startFrame records the header of a data frame with n bytes. It returns false if
// the frame exceeds the receive window.
func (s *Stream) startFrame(n uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.FramesReceived++
	s.stats.LastActivity = time.Now()
	return s.window.receive(n)
}

// deliver forwards or buffers the bytes of c, which have arrived. It reports whether
// it keeps c itself. It runs in the session's receiving goroutine and doesn't block.
func (s *Stream) deliver(c *chunk) (kept bool) {
	s.observer.received(c.data[:c.w])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.BytesReceived += int64(c.w)
	if s.closed || s.reset != nil {
		return false
	}
	if s.recv.size == 0 && s.forwarding.idle() {
		c.r = s.tryForward(c.data[:c.w])
		if s.closed || s.reset != nil || c.r == c.w {
			s.startForwarding()
			return false
		}
	}
	kept = s.recv.push(c)
	s.readable.Signal()
	s.startForwarding()
	return kept
}

// consumed records that n bytes have been read or forwarded, and sends a window
// update if one is due. The caller holds s.mu.
func (s *Stream) consumed(n int) {
	if n == 0 || s.closed || s.reset != nil || s.sessionOver || s.finReceived {
		return
	}
	if more := s.window.consume(&s.session.budget, n); more > 0 {
		h := newHeader(typeWindowUpdate, 0, s.id, more)
		s.session.conn.QueueFrame(h[:])
	}
}
