package mux

import (
	"net"
	"os"
	"time"
)

// Write writes to the stream. It blocks while the peer's receive window is full. It
// may return nil for bytes that are lost when the session ends; the next Write
// returns the error.
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

// write writes p. The caller has set s.writing and holds s.mu, which is released
// while write waits or sends.
func (s *Stream) write(p []byte) (n int, err error) {
	for {
		if err := s.writeErr(); err != nil {
			return n, err
		}
		left := len(p) - n
		switch {
		case left == 0:
			return n, nil
		case s.sendWindow == 0:
			s.writable.Wait()
			continue
		}
		k := min(left, int(s.sendWindow), maxData)
		if err := s.sendData(p[n : n+k]); err != nil {
			return n, err
		}
		n += k
	}
}

// writeErr returns why the stream can't be written now, or nil. The caller holds
// s.mu.
func (s *Stream) writeErr() error {
	switch {
	case s.closed, s.finSent:
		return net.ErrClosed
	case s.reset != nil:
		return s.opError("write", s.reset)
	case s.sessionOver:
		return s.opError("write", s.session.endedErr())
	case s.writeDeadline.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// TryWrite writes p if that is short and doesn't block, and otherwise nothing. It returns the
// number of bytes written. If the connection fails, a later Write returns the error.
func (s *Stream) TryWrite(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := uint32(len(p)) //nolint:gosec // checked
	if len(p) > maxTryWrite || k > s.sendWindow || s.writing || s.observer != nil || s.writeErr() != nil {
		return 0, nil
	}
	s.header = newHeader(typeData, 0, s.id, k)
	if !s.session.conn.TryWriteFrame(s.header[:], p) {
		return 0, nil
	}
	s.sendWindow -= k
	s.countSent(k)
	return len(p), nil
}

// countSent counts a data frame of n bytes. The caller holds s.mu.
func (s *Stream) countSent(n uint32) {
	s.stats.BytesSent += int64(n)
	s.stats.FramesSent++
	s.stats.LastActivity = time.Now()
	s.session.counters.sent(int(n))
}

// sendData sends one data frame, which fits the send window, and then the flags that
// sendFlags has deferred. The caller holds s.mu, which is released during the write.
func (s *Stream) sendData(p []byte) error {
	k := uint32(len(p)) //nolint:gosec // at most maxData
	s.sendWindow -= k
	s.header = newHeader(typeData, 0, s.id, k)
	s.sending = true
	s.mu.Unlock()
	s.observer.sent(p)
	err := s.session.conn.WriteFrame(s.header[:], p)
	if err != nil {
		<-s.session.done // the transport's Read fails, too, and ends the session
	}
	s.mu.Lock()
	s.sending = false
	if s.deferredFlags != 0 {
		flags := s.deferredFlags
		s.deferredFlags = 0
		if flags&flagRST != 0 {
			flags = flagRST
		}
		s.sendFlags(flags)
	}
	switch {
	case err == nil:
		s.countSent(k)
		return nil
	case s.closed:
		return net.ErrClosed
	}
	return s.opError("write", s.session.endedErr())
}
