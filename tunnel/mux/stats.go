package mux

import (
	"sync/atomic"
	"time"
)

// counters are the counters of a session.
type counters struct {
	bytesSent, bytesReceived   atomic.Int64
	framesSent, framesReceived atomic.Int64
	opened, accepted, evicted  atomic.Int64
}

func (c *counters) sent(n int) {
	c.bytesSent.Add(int64(n))
	c.framesSent.Add(1)
}

func (c *counters) received(n int) {
	c.bytesReceived.Add(int64(n))
	c.framesReceived.Add(1)
}

// Stats are the statistics of a session since its start. Bytes and frames are those
// of data frames, without their headers.
type Stats struct {
	BytesSent, BytesReceived   int64
	FramesSent, FramesReceived int64

	Opened   int64 // streams that this end opened
	Accepted int64 // streams that the peer opened and this end accepted
	Evicted  int64 // streams that were reset because of Options.Unread
	Streams  int   // streams that haven't ended at both ends

	GoingAway bool // the peer has sent GoAway: it accepts no more streams
}

// Stats returns the session's statistics.
func (s *Session) Stats() Stats {
	c := &s.counters
	st := Stats{
		BytesSent: c.bytesSent.Load(), BytesReceived: c.bytesReceived.Load(),
		FramesSent: c.framesSent.Load(), FramesReceived: c.framesReceived.Load(),
		Opened: c.opened.Load(), Accepted: c.accepted.Load(), Evicted: c.evicted.Load(),
	}
	select {
	case <-s.remoteGoAway:
		st.GoingAway = true
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Streams = len(s.streams)
	return st
}

// StreamStats are the statistics of a stream since it was opened; see [Stats].
type StreamStats struct {
	BytesSent, BytesReceived   int64
	FramesSent, FramesReceived int64

	// LastActivity is when data was last sent or received, or the zero time.
	LastActivity time.Time
}

// Stats returns the stream's statistics.
func (s *Stream) Stats() StreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}
