package mux

import (
	"cmp"
	"sync/atomic"
	"time"
)

const (
	// initialWindow is the initial size of every window in the yamux protocol.
	initialWindow = 256 * 1024

	// A window grows to maxWindowShortLink at least and to maxWindowLongLink at
	// most, depending on the round-trip time. The former is about the most that a
	// fast machine can use: bytes in flight keep other streams waiting. The latter
	// carries 160 MB/s over a round trip of 50 ms.
	maxWindowShortLink = 1024 * 1024
	maxWindowLongLink  = 16 * 1024 * 1024

	// windowRate times the round-trip time is the largest window in between. It is
	// twice the rate of a fast link in bytes per second, because a window update is
	// sent only when half of the window has been read.
	windowRate = 400e6

	// maxGrowth bounds the sum by which the windows of a session grow, in bytes.
	maxGrowth = 256 * 1024 * 1024
)

// windowBudget is shared by the receive windows of a session.
type windowBudget struct {
	growth    atomic.Int64 // the sum by which windows have grown, in bytes
	roundTrip func() time.Duration
}

// take reserves n bytes of growth. It returns false if fewer are left.
func (b *windowBudget) take(n int64) bool {
	if b.growth.Add(n) <= maxGrowth {
		return true
	}
	b.growth.Add(-n)
	return false
}

// receiveWindow tracks how much the peer may send on a stream. Unless its size is
// fixed, it doubles when half of it is read within two round trips: then the window
// limits the rate. The window of a stream that isn't read doesn't grow.
//
// Stream.mu guards it.
type receiveWindow struct {
	size       uint32
	fixed      bool
	remaining  uint32 // how much the peer may still send
	unconsumed uint32 // size minus the bytes read since the last window update
	updated    time.Time
	growth     int64 // taken from the budget
}

// newReceiveWindow returns a window of the given size, or one that grows if fixed is
// 0.
func newReceiveWindow(fixed uint32) receiveWindow {
	size := cmp.Or(fixed, initialWindow)
	return receiveWindow{size: size, fixed: fixed != 0, remaining: size, unconsumed: size, updated: time.Now()}
}

// receive records that the peer sends n bytes. It returns false if they exceed the
// window.
func (w *receiveWindow) receive(n uint32) bool {
	if n > w.remaining {
		return false
	}
	w.remaining -= n
	return true
}

// consume records that n bytes were read. It returns the increment of the window
// update to send, or 0 if none is due.
func (w *receiveWindow) consume(b *windowBudget, n int) uint32 {
	w.unconsumed -= uint32(n) //nolint:gosec // at most size
	if w.unconsumed > w.size/2 {
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
	more := w.size - w.unconsumed
	w.unconsumed, w.updated = w.size, now
	w.remaining += more
	return more
}

// largestWindow returns the largest window on a link with the given round-trip time.
func largestWindow(rtt time.Duration) uint32 {
	return uint32(min(max(windowRate*rtt.Seconds(), maxWindowShortLink), maxWindowLongLink))
}

// release returns the window's growth to the budget. It may be called twice.
func (w *receiveWindow) release(b *windowBudget) {
	b.growth.Add(-w.growth)
	w.growth = 0
}
