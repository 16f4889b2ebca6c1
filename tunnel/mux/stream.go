package mux

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Stream is a net.Conn with half-close: its two directions end separately.
//
//	open ── CloseWrite ──▶ finSent ───── peer's FIN ──▶ over
//	open ── peer's FIN ──▶ finReceived ─ CloseWrite ──▶ over
//	any  ── RST from either end, or five minutes half-closed ──▶ reset, over
//
// In any state, closed means that the caller has called Close or Reset. The session
// removes a stream that is over; bytes that have arrived can still be read.
type Stream struct {
	session  *Session
	id       uint32
	incoming bool // the peer opened it
	observer *observer

	unacknowledged atomic.Bool // the peer hasn't accepted it: it holds a token of Session.opening

	mu       sync.Mutex
	readable sync.Cond // on mu: bytes have arrived, the deadline has passed, or reading has ended
	writable sync.Cond // on mu: the send window has grown, a Write has returned, the deadline has passed, or writing has ended

	closed         bool        // Close or Reset was called
	finSent        bool        // this end's direction is closed
	finReceived    bool        // the peer's direction is closed
	reset          error       // why both directions ended at once; nil otherwise
	sessionOver    bool        // the session has ended
	halfCloseTimer *time.Timer // resets the stream; nil unless half-closed by this end
	onAbort        func()      // of AfterAbort; may be nil

	recv          recvBuffer
	window        receiveWindow
	forwarding    forwarding
	readDeadline  deadline
	writeDeadline deadline

	writing       bool   // a Write is running; others wait for it
	sending       bool   // it is sending a data frame, without mu
	deferredFlags uint16 // to send after that frame
	sendWindow    uint32 // how many bytes may be sent
	header        header // of the data frame that is being sent

	stats StreamStats
}

func newStream(s *Session, id uint32, incoming bool, observer *observer) *Stream {
	st := &Stream{
		session:    s,
		id:         id,
		incoming:   incoming,
		observer:   observer,
		recv:       recvBuffer{session: s},
		window:     newReceiveWindow(s.opts.Window),
		sendWindow: initialWindow,
	}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	st.unacknowledged.Store(!incoming)
	return st
}

// ID returns the stream's ID.
func (s *Stream) ID() uint32 { return s.id }

// Session returns the session that the stream is on.
func (s *Stream) Session() *Session { return s.session }

// over reports whether the stream has ended at both ends. The caller holds s.mu.
func (s *Stream) over() bool { return s.reset != nil || s.finSent && s.finReceived }

// releaseOpening returns the stream's token of Session.opening. It returns false if
// the stream holds none.
func (s *Stream) releaseOpening() bool {
	held := s.unacknowledged.CompareAndSwap(true, false)
	if held {
		<-s.session.opening
	}
	return held
}

// wake wakes all Reads and Writes and restarts forwarding. The caller holds s.mu.
func (s *Stream) wake() {
	s.readable.Broadcast()
	s.writable.Broadcast()
	s.startForwarding()
}

// sendFlags queues a frame with flags. While a data frame is being sent, it leaves
// that to sendData. The caller holds s.mu.
func (s *Stream) sendFlags(flags uint16) {
	switch {
	case s.sessionOver:
	case s.sending:
		s.deferredFlags |= flags
	default:
		h := newHeader(typeWindowUpdate, flags, s.id, 0)
		s.session.conn.QueueFrame(h[:])
	}
}

// acknowledge sends the ACK of an accepted stream.
func (s *Stream) acknowledge() {
	s.mu.Lock()
	if s.reset == nil && !s.sessionOver {
		h := newHeader(typeWindowUpdate, flagACK, s.id, s.session.initialIncrement())
		s.session.conn.QueueFrame(h[:])
	}
	s.mu.Unlock()
	s.observer.accepted()
}

func (s *Stream) receiveACK() {
	if s.releaseOpening() {
		s.observer.accepted()
	}
}

// receiveUpdate enlarges the send window, up to the largest uint32.
func (s *Stream) receiveUpdate(more uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendWindow += min(more, ^uint32(0)-s.sendWindow)
	s.writable.Broadcast()
}

// receiveFIN ends the peer's direction.
func (s *Stream) receiveFIN() error {
	s.mu.Lock()
	if s.finReceived {
		s.mu.Unlock()
		return &ProtocolError{Text: "unexpected flag", sendGoAway: true}
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

// abort ends both directions at once with reason. It sends flags: flagRST, or 0 if
// the peer has reset the stream. It does nothing if the stream is over.
func (s *Stream) abort(reason error, flags uint16) {
	s.mu.Lock()
	if s.over() || s.sessionOver {
		s.mu.Unlock()
		return
	}
	s.reset = reason
	if flags != 0 {
		s.sendFlags(flags)
	}
	s.callOnAbort()
	s.freeBuffer()
	s.mu.Unlock()
	s.finish()
}

// freeBuffer drops unread bytes, returns the window's growth to the session's
// budget, and wakes all Reads and Writes. The caller holds s.mu.
func (s *Stream) freeBuffer() {
	s.recv.take().free()
	s.window.release(&s.session.budget)
	s.wake()
}

// finish removes the stream, which is over, from the session and ends its observer.
func (s *Stream) finish() {
	s.mu.Lock()
	s.stopTimer()
	reason := s.reset
	s.session.remove(s, s.recv.memory > 0 && !s.closed)
	s.mu.Unlock()
	s.observer.end(reason)
}

func (s *Stream) stopTimer() {
	if s.halfCloseTimer != nil {
		s.halfCloseTimer.Stop()
		s.halfCloseTimer = nil
	}
}

// sessionEnded ends the stream together with its session. Unlike abort, it keeps
// unread bytes.
func (s *Stream) sessionEnded() {
	s.mu.Lock()
	s.sessionOver = true
	s.callOnAbort()
	s.stopTimer()
	s.window.release(&s.session.budget)
	s.wake()
	s.mu.Unlock()
	s.observer.end(s.session.Err())
}

// AfterAbort calls f, once and in its own goroutine, when the peer resets the stream or the
// session ends, also while nothing reads or writes it. It replaces an f before.
func (s *Stream) AfterAbort(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAbort = f
	if s.reset != nil || s.sessionOver {
		s.callOnAbort()
	}
}

// callOnAbort calls the function of AfterAbort. The caller holds s.mu.
func (s *Stream) callOnAbort() {
	if s.onAbort != nil {
		go s.onAbort()
		s.onAbort = nil
	}
}

// drop drops the bytes of a stream that won't be accepted any more.
func (s *Stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = net.ErrClosed
	s.freeBuffer()
}

// CloseWrite closes this end's direction: the peer's Read returns io.EOF after the
// bytes written before. The stream can still be read. It is reset if the peer
// doesn't close its direction within five minutes. CloseWrite doesn't block.
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

// sendFIN closes this end's direction. It returns false if that has already
// ended. The caller holds s.mu.
func (s *Stream) sendFIN() bool {
	if s.finSent || s.reset != nil || s.sessionOver {
		return false
	}
	s.finSent = true
	s.sendFlags(flagFIN)
	if !s.finReceived {
		s.halfCloseTimer = time.AfterFunc(halfCloseTimeout, func() { s.abort(errHalfClosed, flagRST) })
	}
	return true
}

// Close closes both directions and drops unread bytes. It doesn't block. Pending
// Reads, and Writes that wait for the peer to read, return net.ErrClosed. A Write
// that waits for a stalled connection returns when the connection takes its bytes
// or fails.
func (s *Stream) Close() error {
	s.close(s.sendFIN)
	return nil
}

// Reset is Close with an RST instead of a FIN: the peer's Read and Write return
// ErrReset.
func (s *Stream) Reset() error {
	s.close(func() bool {
		if !s.over() && !s.sessionOver {
			s.reset = net.ErrClosed
			s.sendFlags(flagRST)
		}
		return false
	})
	return nil
}

// close closes the stream at this end. send sends a FIN or an RST, with s.mu held,
// and reports whether it sent a FIN.
func (s *Stream) close(send func() (fin bool)) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	wasOver := s.over()
	fin := send()
	s.readDeadline.stop()
	s.writeDeadline.stop()
	s.freeBuffer()
	over := s.over()
	s.mu.Unlock()
	if fin {
		s.observer.closed(false)
	}
	if over && !wasOver {
		s.finish()
	}
	s.session.streamClosed(s, !over)
}

func (s *Stream) opError(op string, err error) error {
	return fmt.Errorf("yamux: %s stream %d: %w", op, s.id, err)
}

// LocalAddr returns the local address of the connection with the stream's ID, such
// as 127.0.0.1:7070#1.
func (s *Stream) LocalAddr() net.Addr { return streamAddr{s.session.LocalAddr(), s.id} }

// RemoteAddr returns the peer's address with the stream's ID.
func (s *Stream) RemoteAddr() net.Addr { return streamAddr{s.session.RemoteAddr(), s.id} }

// streamAddr is the address of a stream.
type streamAddr struct {
	conn   net.Addr
	stream uint32
}

func (a streamAddr) Network() string { return "yamux" }
func (a streamAddr) String() string  { return fmt.Sprintf("%v#%d", a.conn, a.stream) }

// deadline is a read or write deadline; the zero value is none. Stream.mu guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer // wakes the stream at that time
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

// SetWriteDeadline sets the deadline of Write calls, pending ones included. It
// applies to a Write that waits for the peer to read. A Write that waits for a
// stalled connection returns when the connection takes its bytes or fails.
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
			d.at = time.Now().Add(left) // on the monotonic clock, like the timer
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
