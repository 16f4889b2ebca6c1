package wsmux

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// initialWindow is the receive window with which every stream begins: the
	// protocol has it so.
	initialWindow = 256 * 1024

	// maxWindow is the most that a receive window grows to. It is enough for
	// 160 MB/s over a way there and back of 50 ms.
	maxWindow = 16 * 1024 * 1024

	// maxGrown bounds what the windows of one session grow by in sum.
	maxGrown = 256 * 1024 * 1024
)

// receiveWindow decides how much the peer may send on a stream. It begins
// small, and doubles when half of it has been read within a round trip or two:
// then it is the window that holds the stream up. So a stream is as fast as the
// link on a long way, and one that nobody reads holds little memory.
//
// yamux itself knows one fixed size only. It is told one that never matters, and
// what it grants the peer is dropped on the way out: see muxConn.
type receiveWindow struct {
	mu       sync.Mutex
	size     uint32
	granted  uint32 // of size: what the peer may send, and what is to be read
	since    time.Time
	released bool
}

// noteRead takes notice of n bytes that have been read, and tells the peer how many
// more it may send.
func (s *Stream) noteRead(n int) {
	more, err := s.window.read(s.session, n)
	switch {
	case err != nil:
		s.session.CloseWithError(err)
	case more > 0:
		s.session.grant(s.stream.StreamID(), more)
	}
}

func (w *receiveWindow) read(s *Session, n int) (uint32, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.released:
		return 0, nil
	case n > int(w.granted):
		return 0, fmt.Errorf("yamux: %w", yamux.ErrRecvWindowExceeded)
	}
	w.granted -= uint32(n) //nolint:gosec // less than it
	if w.granted > w.size/2 {
		return 0, nil
	}
	now := time.Now()
	if w.size < maxWindow && now.Sub(w.since) < 2*s.t.roundTrip() && s.grow(int64(w.size)) {
		w.size *= 2
	}
	more := w.size - w.granted
	w.granted, w.since = w.size, now
	return more, nil
}

// release gives back what the window has grown by.
func (w *receiveWindow) release(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.released = true
	s.grown.Add(initialWindow - int64(w.size))
}

// grow reports whether a window may become larger by n.
func (s *Session) grow(n int64) bool {
	if s.grown.Add(n) <= maxGrown {
		return true
	}
	s.grown.Add(-n)
	return false
}

// grant tells the peer that it may send n more bytes on a stream. It doesn't
// wait for a link that is busy: who reads needn't.
func (s *Session) grant(stream, n uint32) {
	header := make([]byte, yamuxHeaderSize)
	header[1] = yamuxTypeWindowUpdate
	binary.BigEndian.PutUint32(header[4:], stream)
	binary.BigEndian.PutUint32(header[8:], n)
	go func() { _ = s.t.send(header, nil) }() // an error shows elsewhere
}

// withoutGrant returns the window update of yamux's that grants nothing, for its
// flags alone, or nil if it has none.
func withoutGrant(header []byte) []byte {
	if binary.BigEndian.Uint16(header[2:]) == 0 {
		return nil
	}
	h := append([]byte(nil), header...)
	binary.BigEndian.PutUint32(h[8:], 0)
	return h
}
