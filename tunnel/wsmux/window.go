package wsmux

import (
	"cmp"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// initialWindow is the receive window with which every stream begins: the
	// protocol has it so.
	initialWindow = 256 * 1024

	// nearWindow is what a receive window grows to on a short way, and maxWindow
	// the most on a long one. What is in flight is what others have to wait for, so
	// the first is hardly more than a fast machine can use. The second is enough
	// for 160 MB/s over a way there and back of 50 ms.
	nearWindow = 1024 * 1024
	maxWindow  = 16 * 1024 * 1024

	// windowRate is how many bytes per second of round trip a window beyond
	// nearWindow may have: a fast link, and the half of a window that yamux's way
	// of granting wastes.
	windowRate = 400e6

	// maxGrown bounds what the windows of one session grow by in sum.
	maxGrown = 256 * 1024 * 1024
)

// receiveWindow decides how much the peer may send on a stream. Unless its size
// is fixed, it begins small, and doubles when half of it has been read within a
// round trip or two: then it is the window that holds the stream up. So a stream is
// as fast as the link on a long way, and one that nobody reads holds little
// memory.
//
// The inbox that it belongs to guards it.
type receiveWindow struct {
	size    uint32
	fixed   bool
	room    uint32 // what the peer may still send
	unspent uint32 // of size: room, and what hasn't been consumed
	since   time.Time
	grown   int64 // by which the session's others may not
}

// newReceiveWindow returns a window of a fixed size, or, if that is 0, one that
// grows.
func newReceiveWindow(fixed uint32) receiveWindow {
	size := cmp.Or(fixed, initialWindow)
	return receiveWindow{size: size, fixed: fixed != 0, room: size, unspent: size, since: time.Now()}
}

// arrived takes notice of n bytes that the peer has sent. The error is that it
// wasn't allowed to.
func (w *receiveWindow) arrived(n int) error {
	if n > int(w.room) {
		return yamux.ErrRecvWindowExceeded
	}
	w.room -= uint32(n) //nolint:gosec // less than it
	return nil
}

// consumed takes notice of n bytes that have been read, and returns how many more
// the peer is to be granted.
func (w *receiveWindow) consumed(s *Session, n int) uint32 {
	w.unspent -= uint32(n) //nolint:gosec // what has arrived is less
	if w.unspent > w.size/2 {
		return 0
	}
	now := time.Now()
	if rtt := s.t.roundTrip(); !w.fixed && w.size < mostWindow(rtt) && now.Sub(w.since) < 2*rtt && s.grow(int64(w.size)) {
		w.grown += int64(w.size)
		w.size *= 2
	}
	more := w.size - w.unspent
	w.unspent, w.since = w.size, now
	w.room += more
	return more
}

// mostWindow is what a window may grow to where a round trip takes rtt.
func mostWindow(rtt time.Duration) uint32 {
	return uint32(min(max(windowRate*rtt.Seconds(), nearWindow), maxWindow))
}

// release gives back what the window has grown by.
func (w *receiveWindow) release(s *Session) {
	s.grown.Add(-w.grown)
	w.grown = 0
}

// grow reports whether a window may become larger by n.
func (s *Session) grow(n int64) bool {
	if s.grown.Add(n) <= maxGrown {
		return true
	}
	s.grown.Add(-n)
	return false
}
