package mux

import (
	"cmp"
	"sync/atomic"
	"time"
)

const (
	// initialWindow is the size of every window at first, as the protocol
	// defines it.
	initialWindow = 256 * 1024

	// nearWindow is the largest window on a short link, maxWindow on a long one.
	// Bytes in flight keep other streams waiting, so the first is hardly more
	// than a fast machine can use. The second carries 160 MB/s over a round trip
	// of 50 ms.
	nearWindow = 1024 * 1024
	maxWindow  = 16 * 1024 * 1024

	// windowRate is how many bytes per second of round trip a window larger
	// than nearWindow may have: a fast link, twice, because a window update is
	// sent only when half of the window has been read.
	windowRate = 400e6

	// maxGrowth bounds the sum by which the windows of a session grow.
	maxGrowth = 256 * 1024 * 1024
)

// windowBudget is shared by the receive windows of a session.
type windowBudget struct {
	growth    atomic.Int64 // the sum by which windows have grown
	roundTrip func() time.Duration
}

// take reserves n bytes of growth. It returns false if the budget is used up.
func (b *windowBudget) take(n int64) bool {
	if b.growth.Add(n) <= maxGrowth {
		return true
	}
	b.growth.Add(-n)
	return false
}

// receiveWindow decides how much the peer may send on a stream. Unless its size
// is fixed, it doubles when half of it is read within two round trips: then the
// window is what slows the stream down. A stream that nobody reads stays small.
//
// The stream's mutex guards it.
type receiveWindow struct {
	size    uint32
	fixed   bool
	room    uint32 // how much the peer may still send
	unspent uint32 // size minus the bytes read since the last window update
	updated time.Time
	growth  int64 // taken from the budget
}

// newReceiveWindow returns a window of the given size, or, if that is 0, one
// that grows.
func newReceiveWindow(fixed uint32) receiveWindow {
	size := cmp.Or(fixed, initialWindow)
	return receiveWindow{size: size, fixed: fixed != 0, room: size, unspent: size, updated: time.Now()}
}

// receive records that the peer sent n bytes. It returns false if the peer
// wasn't allowed to.
func (w *receiveWindow) receive(n uint32) bool {
	if n > w.room {
		return false
	}
	w.room -= n
	return true
}

// consume records that n bytes were read. It returns by how much to enlarge the
// peer's send window, or 0.
func (w *receiveWindow) consume(b *windowBudget, n int) uint32 {
	w.unspent -= uint32(n) //nolint:gosec // at most what the peer was allowed to send
	if w.unspent > w.size/2 {
		return 0
	}
	now := time.Now()
	if !w.fixed {
		rtt := cmp.Or(b.roundTrip(), defaultRoundTrip)
		if w.size < largestWindow(rtt) && now.Sub(w.updated) < 2*rtt && b.take(int64(w.size)) {
			w.growth += int64(w.size)
			w.size *= 2
		}
	}
	more := w.size - w.unspent
	w.unspent, w.updated = w.size, now
	w.room += more
	return more
}

// largestWindow is the largest window on a link with the given round-trip time.
func largestWindow(rtt time.Duration) uint32 {
	return uint32(min(max(windowRate*rtt.Seconds(), nearWindow), maxWindow))
}

// release returns the window's growth to the budget.
func (w *receiveWindow) release(b *windowBudget) {
	b.growth.Add(-w.growth)
	w.growth = 0
}
