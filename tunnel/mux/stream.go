package mux

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is a net.Conn whose two directions end separately.
//
//	open ── CloseWrite ──▶ finSent ───── peer's FIN ──▶ over
//	open ── peer's FIN ──▶ finReceived ─ CloseWrite ──▶ over
//	any  ── RST from either end, or five minutes half-closed ──▶ reset, over
//
// closed says in addition that nobody reads or writes at this end any more. The
// session forgets a stream that is over; received bytes can still be read.
type Stream struct {
	session  *Session
	id       uint32
	incoming bool // the peer opened it
	observer *observation

	unacknowledged atomic.Bool // holds a token of Session.opening

	mu       sync.Mutex
	readable sync.Cond // of mu: bytes have arrived, or something has ended
	writable sync.Cond // of mu: the window has room, or something has ended

	closed      bool        // Close or Reset was called
	finSent     bool        // this end's direction is closed
	finReceived bool        // the peer's direction is closed
	reset       error       // why both directions ended at once
	ended       bool        // the session has ended
	halfClosed  *time.Timer // resets the stream; nil unless half-closed

	recv          recvBuffer
	window        receiveWindow
	forwarding    forwarding
	readDeadline  deadline
	writeDeadline deadline

	writing bool   // a Write has its turn
	sending bool   // it is sending a frame
	after   uint16 // flags to send after that frame
	credit  uint32 // how much may be sent
	header  header // of the frame that is being sent

	stats StreamStats
}

func newStream(s *Session, id uint32, incoming bool) *Stream {
	st := &Stream{
		session:  s,
		id:       id,
		incoming: incoming,
		observer: s.observe(id, !incoming),
		window:   newReceiveWindow(s.opts.Window),
		credit:   initialWindow,
	}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	st.unacknowledged.Store(!incoming)
	return st
}

// ID returns the stream's number.
func (s *Stream) ID() uint32 { return s.id }

// Session returns the session that the stream is on.
func (s *Stream) Session() *Session { return s.session }

// over reports whether the session is to forget the stream. The caller holds
// s.mu.
func (s *Stream) over() bool { return s.reset != nil || s.finSent && s.finReceived }

// takeOpening reports whether the caller must return the token of
// Session.opening.
func (s *Stream) takeOpening() bool { return s.unacknowledged.CompareAndSwap(true, false) }

// wake wakes everything that waits on the stream. The caller holds s.mu.
func (s *Stream) wake() {
	s.readable.Broadcast()
	s.writable.Broadcast()
	s.startForwarding()
}

// sendFlags queues a frame with flags, or has it queued after the data frame
// that is being sent. The caller holds s.mu.
func (s *Stream) sendFlags(flags uint16) {
	switch {
	case s.ended:
	case s.sending:
		s.after |= flags
	default:
		h := newHeader(typeWindowUpdate, flags, s.id, 0)
		s.session.conn.QueueFrame(h[:])
	}
}

// acknowledge tells the peer that the stream has been accepted.
func (s *Stream) acknowledge() {
	s.mu.Lock()
	if s.reset == nil && !s.ended {
		h := newHeader(typeWindowUpdate, flagACK, s.id, s.session.firstUpdate())
		s.session.conn.QueueFrame(h[:])
	}
	s.mu.Unlock()
	s.observer.accepted()
}

func (s *Stream) receiveACK() {
	if s.takeOpening() {
		<-s.session.opening
		s.observer.accepted()
	}
}

// receiveUpdate enlarges the send window.
func (s *Stream) receiveUpdate(more uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit += min(more, ^uint32(0)-s.credit)
	s.writable.Broadcast()
}

// receiveFIN ends the peer's direction.
func (s *Stream) receiveFIN() error {
	s.mu.Lock()
	if s.finReceived {
		s.mu.Unlock()
		return &ProtocolError{Text: "unexpected flag", announce: true}
	}
	s.finReceived = true
	s.wake()
	over := s.over()
	s.mu.Unlock()
	s.observer.closed(true)
	if over {
		s.finish()
	}
	return nil
}

// abort ends both directions at once and sends flags, unless the stream is over.
func (s *Stream) abort(reason error, flags uint16) {
	s.mu.Lock()
	if s.over() || s.ended {
		s.mu.Unlock()
		return
	}
	s.reset = reason
	if flags != 0 {
		s.sendFlags(flags)
	}
	s.release()
	s.mu.Unlock()
	s.finish()
}

// release returns what the stream holds and wakes everything that waits on it.
// The caller holds s.mu.
func (s *Stream) release() {
	s.recv.take().free()
	s.window.release(&s.session.budget)
	s.wake()
}

// finish has the session forget the stream, which is over.
func (s *Stream) finish() {
	s.mu.Lock()
	s.stopTimer()
	reason := s.reset
	s.mu.Unlock()
	s.session.remove(s)
	s.observer.end(reason)
}

func (s *Stream) stopTimer() {
	if s.halfClosed != nil {
		s.halfClosed.Stop()
		s.halfClosed = nil
	}
}

// end is called when the session has ended.
func (s *Stream) end() {
	s.mu.Lock()
	s.ended = true
	s.stopTimer()
	s.window.release(&s.session.budget)
	s.wake()
	s.mu.Unlock()
	s.observer.end(s.session.Err())
}

// CloseWrite tells the peer that no more data will follow. Reading goes on, for
// five minutes: then the stream is reset if the peer hasn't closed its
// direction. It doesn't block.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	sent := s.sendFIN()
	s.writable.Broadcast()
	over := s.over()
	s.mu.Unlock()
	if sent {
		s.observer.closed(false)
		if over {
			s.finish()
		}
	}
	return nil
}

// sendFIN closes this end's direction. It returns false if that has ended
// before. The caller holds s.mu.
func (s *Stream) sendFIN() bool {
	if s.finSent || s.reset != nil || s.ended {
		return false
	}
	s.finSent = true
	s.sendFlags(flagFIN)
	if !s.finReceived {
		s.halfClosed = time.AfterFunc(halfCloseTimeout, func() { s.abort(errHalfClosed, flagRST) })
	}
	return true
}

// Close ends both directions and drops unread bytes. It doesn't block. A Read, or
// a Write that waits for the peer to read, returns net.ErrClosed; a Write that waits
// for a stalled connection returns when the connection moves or fails.
func (s *Stream) Close() error {
	s.shut(func() bool { return s.sendFIN() })
	return nil
}

// Reset is Close for a stream that doesn't end in order: the peer's Read and
// Write fail.
func (s *Stream) Reset() error {
	s.shut(func() bool {
		if !s.over() && !s.ended {
			s.reset = net.ErrClosed
			s.sendFlags(flagRST)
		}
		return false
	})
	return nil
}

// shut ends both directions. tell tells the peer and returns true if that was
// with a FIN.
func (s *Stream) shut(tell func() (fin bool)) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	wasOver := s.over()
	fin := tell()
	s.readDeadline.stop()
	s.writeDeadline.stop()
	s.release()
	over := s.over()
	s.mu.Unlock()
	if fin {
		s.observer.closed(false)
	}
	if over && !wasOver {
		s.finish()
	}
	s.session.closedHere(s, !over)
}

func (s *Stream) opError(op string, err error) error {
	return fmt.Errorf("yamux: %s stream %d: %w", op, s.id, err)
}

// LocalAddr returns the local address of the connection and the stream's number.
func (s *Stream) LocalAddr() net.Addr { return streamAddr{s.session.LocalAddr(), s.id} }

// RemoteAddr returns the peer's address and the stream's number.
func (s *Stream) RemoteAddr() net.Addr { return streamAddr{s.session.RemoteAddr(), s.id} }

// streamAddr tells the streams of a session apart.
type streamAddr struct {
	conn   net.Addr
	stream uint32
}

func (a streamAddr) Network() string { return "yamux" }
func (a streamAddr) String() string  { return fmt.Sprintf("%v#%d", a.conn, a.stream) }

// deadline is a point in time at which those who wait are woken.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return s.setDeadlines(t, &s.readDeadline, &s.writeDeadline)
}

// SetReadDeadline sets the deadline of Read calls, pending ones included.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.setDeadlines(t, &s.readDeadline) }

// SetWriteDeadline sets the deadline of Write calls, pending ones included. A
// Write that waits for the peer to read obeys it; one that waits for a stalled
// connection returns when the connection moves or fails.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadlines(t, &s.writeDeadline) }

func (s *Stream) setDeadlines(t time.Time, deadlines ...*deadline) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	for _, d := range deadlines {
		d.stop()
		d.at = t
		if left := time.Until(t); !t.IsZero() && left > 0 {
			d.at = time.Now().Add(left) // by the monotonic clock, as the timer
			d.timer = time.AfterFunc(left, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.wake()
			})
		}
	}
	s.wake()
	return nil
}
