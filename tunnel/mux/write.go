package mux

import (
	"net"
	"os"
	"time"
)

// Write writes to the stream. It blocks while the peer's window is full. An
// error of the session shows in the next call at the latest.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		if err := s.writeErr(); err != nil {
			return 0, err
		}
		s.writable.Wait()
	}
	s.writing = true
	n, err := s.write(p)
	s.writing = false
	s.writable.Broadcast()
	return n, err
}

// write writes p when it is this call's turn. The caller holds s.mu, which is
// released while write waits or sends.
func (s *Stream) write(p []byte) (n int, err error) {
	for {
		if err := s.writeErr(); err != nil {
			return n, err
		}
		left := len(p) - n
		switch {
		case left == 0:
			return n, nil
		case s.credit == 0:
			s.writable.Wait()
			continue
		}
		k := min(left, int(s.credit), maxData)
		if err := s.sendData(p[n : n+k]); err != nil {
			return n, err
		}
		n += k
	}
}

// writeErr returns why nothing can be written now, or nil. The caller holds
// s.mu.
func (s *Stream) writeErr() error {
	switch {
	case s.closed, s.finSent:
		return net.ErrClosed
	case s.reset != nil:
		return s.opError("write", s.reset)
	case s.ended:
		return s.opError("write", s.session.endedErr())
	case s.writeDeadline.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// sendData sends one data frame, for which there is credit. The caller holds
// s.mu, which is released meanwhile.
func (s *Stream) sendData(p []byte) error {
	k := uint32(len(p)) //nolint:gosec // at most maxData
	s.credit -= k
	s.header = newHeader(typeData, 0, s.id, k)
	s.sending = true
	s.mu.Unlock()
	s.observer.sent(p)
	err := s.session.conn.WriteFrame(s.header[:], p)
	if err != nil {
		<-s.session.done // for Read of the transport fails as well
	}
	s.mu.Lock()
	s.sending = false
	if s.after != 0 {
		flags := s.after
		s.after = 0
		if flags&flagRST != 0 {
			flags = flagRST
		}
		s.sendFlags(flags)
	}
	switch {
	case err == nil:
		s.stats.BytesSent += int64(k)
		s.stats.FramesSent++
		s.stats.LastActivity = time.Now()
		s.session.counters.sent(len(p))
		return nil
	case s.closed:
		return net.ErrClosed
	}
	return s.opError("write", s.session.endedErr())
}
