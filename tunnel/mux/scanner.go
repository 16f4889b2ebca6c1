package mux

import "errors"

// ErrNotYamux is the error of a Scanner for bytes that aren't yamux.
var ErrNotYamux = errors.New("not yamux")

// Scanner scans the frames of one direction of a yamux session between two other programs.
// It may be used by one goroutine at a time.
type Scanner struct {
	// Open is called for a SYN, which opens a stream.
	Open func(stream uint32)

	// Data is called with consecutive parts of the bytes on a stream. It must not keep a
	// reference to p.
	Data func(stream uint32, p []byte)

	// Close is called for a FIN, which closes this direction of a stream, or a RST, which
	// closes both.
	Close func(stream uint32, reset bool)

	err     error
	head    header
	headLen int    // bytes in head
	left    uint32 // bytes of the body still to scan
}

// Scan scans p, the next bytes of the session. After an error, it ignores p.
func (s *Scanner) Scan(p []byte) {
	for len(p) > 0 && s.err == nil {
		if s.left > 0 {
			n := min(uint64(s.left), uint64(len(p)))
			s.Data(s.head.stream(), p[:n])
			s.left -= uint32(n) //nolint:gosec // not more than left
			p = p[n:]
			if s.left == 0 {
				s.endFrame()
			}
			continue
		}
		n := copy(s.head[s.headLen:], p)
		p = p[n:]
		if s.headLen += n; s.headLen == headerSize {
			s.headLen = 0
			s.beginFrame()
		}
	}
}

// Err returns nil, or ErrNotYamux.
func (s *Scanner) Err() error { return s.err }

func (s *Scanner) beginFrame() {
	h := &s.head
	switch {
	case h.version() != version || h.kind() > typeGoAway || h.flags() > flagSYN|flagACK|flagFIN|flagRST:
		s.err = ErrNotYamux
		return
	case h.kind() >= typePing:
		return
	}
	if h.flags()&flagSYN != 0 {
		s.Open(h.stream())
	}
	if h.kind() == typeData {
		s.left = h.length()
	}
	if s.left == 0 {
		s.endFrame()
	}
}

func (s *Scanner) endFrame() {
	if flags := s.head.flags(); s.head.kind() < typePing && flags&(flagFIN|flagRST) != 0 {
		s.Close(s.head.stream(), flags&flagRST != 0)
	}
}
