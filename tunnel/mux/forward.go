package mux

import (
	"io"
	"os"
)

// TryWriter is a writer that can also write without blocking.
type TryWriter interface {
	io.Writer

	// TryWrite writes the part of p that doesn't block, which may be empty, and
	// returns its length.
	TryWrite(p []byte) (n int, err error)
}

// Aborter is a TryWriter whose Write can be interrupted.
type Aborter interface {
	TryWriter

	// Abort makes a Write that blocks, and all later ones, return an error.
	Abort()
}

// forwarding is the state of ForwardTo. Stream.mu guards it, except that the
// goroutine that has set busy uses w without the lock.
type forwarding struct {
	w       TryWriter // nil: the stream isn't forwarded
	ended   func(error)
	busy    bool  // a goroutine is writing to w, or is about to call ended
	aborted bool  // Abort was called
	err     error // returned by w
}

// idle reports whether bytes that arrive may be written to f.w at once.
func (f *forwarding) idle() bool { return f.w != nil && !f.busy && f.err == nil }

// ForwardTo copies the stream to w in the background until either ends. The
// session's receiving goroutine calls w.TryWrite as bytes arrive. Another goroutine
// calls w.Write with the bytes that w.TryWrite has left, and exists only while there
// are some. The calls don't overlap. The caller must not read the stream until ended is called.
//
// If w is an Aborter, its Abort is called when the stream is reset or its session ends
// while bytes wait for w. Otherwise a w that blocks receives the bytes that arrived before
// the end of the session.
//
// ended is called once, in its own goroutine: with nil when the peer has closed its
// direction, and otherwise with the error of w, or the one that Read would return.
func (s *Stream) ForwardTo(w TryWriter, ended func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forwarding = forwarding{w: w, ended: ended}
	s.startForwarding()
}

// tryForward writes the part of p that doesn't block, and returns its length. The
// caller holds s.mu, which is released during the write.
func (s *Stream) tryForward(p []byte) int {
	f := &s.forwarding
	f.busy = true
	s.mu.Unlock()
	n, err := f.w.TryWrite(p)
	s.mu.Lock()
	f.busy, f.err = false, err
	s.consumed(n)
	return n
}

// startForwarding starts forwardBuffered if bytes are buffered or forwarding has
// ended, and it isn't running yet. The caller holds s.mu.
func (s *Stream) startForwarding() {
	f := &s.forwarding
	switch {
	case f.w == nil:
	case f.busy:
		s.abortWrite()
	case s.recv.size > 0:
		s.abortWrite()
		fallthrough
	case f.err != nil, s.readErr() != nil, s.readDeadline.passed():
		f.busy = true
		go s.forwardBuffered()
	}
}

// abortWrite aborts the writes of a stream that was reset or whose session has ended. The
// caller holds s.mu.
func (s *Stream) abortWrite() {
	f := &s.forwarding
	if w, ok := f.w.(Aborter); ok && (s.reset != nil || s.sessionOver) && !f.aborted {
		f.aborted = true
		go w.Abort() // it may block
	}
}

// forwardBuffered writes the receive buffer until it is empty or forwarding ends.
// In the latter case it calls ended.
func (s *Stream) forwardBuffered() {
	s.mu.Lock()
	f := &s.forwarding
	for s.recv.size > 0 && s.wantsBytes() {
		s.forwardChunks(s.recv.take())
	}
	over, err := s.forwardingResult()
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

// forwardingResult reports whether forwarding has ended, and with which error, once
// the receive buffer is empty or will not be forwarded. The caller holds s.mu.
func (s *Stream) forwardingResult() (over bool, err error) {
	if s.forwarding.err != nil {
		if !s.forwarding.aborted {
			return true, s.forwarding.err
		}
		s.recv.take().free() // so that readErr returns why
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

// wantsBytes reports whether buffered bytes are still to be forwarded. The caller
// holds s.mu.
func (s *Stream) wantsBytes() bool { return s.forwarding.err == nil && !s.closed && s.reset == nil }

// forwardChunks writes c and the chunks after it, and frees them. The caller holds
// s.mu, which is released during each write.
func (s *Stream) forwardChunks(c *chunk) {
	for ; c != nil && s.wantsBytes(); c = c.freeFirst() {
		s.mu.Unlock()
		n, err := s.forwarding.w.Write(c.data[c.r:c.w])
		s.mu.Lock()
		s.forwarding.err = err
		s.consumed(n)
	}
	c.free()
}
