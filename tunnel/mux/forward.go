package mux

import (
	"io"
	"os"
)

// TryWriter is a writer that can write without blocking.
type TryWriter interface {
	io.Writer

	// TryWrite writes as much of p as it can without blocking, which may be
	// nothing, and returns how much that was.
	TryWrite(p []byte) (n int, err error)
}

// forwarding is the state of ForwardTo. The stream's mutex guards it; to is used
// by the goroutine that has set busy.
type forwarding struct {
	to    TryWriter // nil: nothing is forwarded
	ended func(error)
	busy  bool  // a goroutine writes to to, or is about to call ended
	err   error // to's
}

// idle reports whether bytes that arrive may be written to f.to at once.
func (f *forwarding) idle() bool { return f.to != nil && !f.busy && f.err == nil }

// ForwardTo writes the bytes of the stream to w, and returns at once. The
// session's receiving goroutine writes what w takes without blocking; another
// goroutine writes the rest, and exists only while there is some. Calls of w's
// methods follow one another. Nothing else may read the stream until ended has
// been called.
//
// ended is called once, in a goroutine of its own: with nil when the peer has
// closed its direction, and otherwise with w's error, or the one that Read
// would have returned.
func (s *Stream) ForwardTo(w TryWriter, ended func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forwarding = forwarding{to: w, ended: ended}
	s.startForwarding()
}

// tryForward writes p as far as that doesn't block, and returns how much that
// was. The caller holds s.mu, which is released meanwhile.
func (s *Stream) tryForward(p []byte) int {
	f := &s.forwarding
	f.busy = true
	s.mu.Unlock()
	n, err := f.to.TryWrite(p)
	s.mu.Lock()
	f.busy, f.err = false, err
	s.consumed(n)
	return n
}

// startForwarding starts the goroutine that forwards, if it has something to do
// and doesn't run. The caller holds s.mu.
func (s *Stream) startForwarding() {
	f := &s.forwarding
	if f.to == nil || f.busy {
		return
	}
	if s.recv.size > 0 || f.err != nil || s.readErr() != nil || s.readDeadline.passed() {
		f.busy = true
		go s.forwardBuffered()
	}
}

// forwardBuffered writes the receive buffer until it is empty or forwarding
// ends.
func (s *Stream) forwardBuffered() {
	s.mu.Lock()
	f := &s.forwarding
	for s.recv.size > 0 && s.forwards() {
		s.forwardChunks(s.recv.take())
	}
	over, err := s.forwardingOver()
	if !over {
		f.busy = false
		s.mu.Unlock()
		return
	}
	ended := f.ended
	s.forwarding = forwarding{}
	s.mu.Unlock()
	ended(err)
}

// forwardingOver reports whether forwarding has ended, and with which error. The
// receive buffer is empty, or nobody wants its bytes. The caller holds s.mu.
func (s *Stream) forwardingOver() (over bool, err error) {
	if s.forwarding.err != nil {
		return true, s.forwarding.err
	}
	switch err := s.readErr(); {
	case err == io.EOF: //nolint:errorlint // readErr's
		return true, nil
	case err != nil:
		return true, err
	case s.readDeadline.passed():
		return true, os.ErrDeadlineExceeded
	}
	return false, nil
}

// forwards reports whether received bytes are still to be forwarded. The caller
// holds s.mu.
func (s *Stream) forwards() bool { return s.forwarding.err == nil && !s.closed && s.reset == nil }

// forwardChunks writes the chunks from c on. The caller holds s.mu, which is
// released while it writes.
func (s *Stream) forwardChunks(c *chunk) {
	for ; c != nil && s.forwards(); c = c.freeFirst() {
		s.mu.Unlock()
		n, err := s.forwarding.to.Write(c.data[c.r:c.w])
		s.mu.Lock()
		s.forwarding.err = err
		s.consumed(n)
	}
	c.free()
}
