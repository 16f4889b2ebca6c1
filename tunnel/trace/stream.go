package trace

import (
	"cmp"
	"errors"
	"net"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
)

// observedStream traces a yamux stream. Its functions don't overlap: see mux.StreamObserver.
type observedStream struct {
	tracer  *Tracer
	session uint64
	stream  uint32

	sent, received half
	conn           *conn // nil until its first byte, and if the stream isn't traced
	ignored        bool  // the stream isn't traced
	isOther        bool  // nor is it HTTP/2
	begun          time.Time

	halfClosed, closedByPeer bool // a direction has been closed, first by the peer
}

// half is one direction of a stream.
type half struct {
	first     [len(http2.ClientPreface)]byte // as many as Identify needs
	bytes     int64
	direction *direction // nil until the first byte
}

// scan scans p, the next bytes of a direction of the stream.
func (s *observedStream) scan(p []byte, h *half) {
	if h.bytes < int64(len(h.first)) {
		copy(h.first[h.bytes:], p)
	}
	h.bytes += int64(len(p))
	if s.ignored || len(p) == 0 {
		return
	}
	defer s.recover()
	if !s.tracer.isWatched() {
		s.abandon()
		return
	}
	if h.direction == nil && !s.begin(p[0], h) {
		return
	}
	if err := s.conn.scan(h.direction, p); err != nil {
		s.other(h, err)
	}
}

// abandon drops a stream for which there is no output any more.
func (s *observedStream) abandon() {
	defer s.drop()
	if s.conn != nil {
		s.conn.close("")
	}
}

// drop ends the decoding of the stream, and lets go of its memory.
func (s *observedStream) drop() {
	s.conn, s.ignored = nil, true
	s.sent.direction, s.received.direction = nil, nil
}

// begin begins a direction whose first byte is first. It reports whether it is traced.
func (s *observedStream) begin(first byte, h *half) bool {
	if s.conn == nil {
		s.begun = time.Now()
		if s.conn = newConn(s.tracer, s.session, s.stream); s.conn == nil {
			s.ignored = true
			s.tracer.lose(Losses{Conns: 1})
			return false
		}
	}
	c := s.conn
	isClient := first == http2.ClientPreface[0]
	if other := s.otherHalf(h); other.direction != nil {
		isClient = other.direction.sender == Server
	}
	h.direction = &c.server
	if isClient {
		h.direction = &c.client
	}
	return true
}

func (s *observedStream) otherHalf(h *half) *half {
	if h == &s.sent {
		return &s.received
	}
	return &s.sent
}

// other ends the tracing of a stream with something else than HTTP/2.
func (s *observedStream) other(h *half, err error) {
	s.isOther = true
	defer s.drop()
	message := err.Error()
	if errors.Is(err, h2.ErrNotHTTP2) {
		first := h.first[:min(h.bytes, int64(len(h.first)))]
		message = string(cmp.Or(netdiag.Identify(first), "not HTTP/2"))
		if message == string(netdiag.TLSHandshake) {
			message = Encrypted
		}
	}
	s.conn.now = time.Now()
	s.conn.newEvent(Other, h.direction.sender).Message = message
	s.conn.putEvent(s.tracer.current())
	s.conn.close(message)
}

// recover contains a panic of the decoder, and ends the trace of the stream.
func (s *observedStream) recover() {
	if v := recover(); v != nil {
		s.conn.fail(v)
		s.drop()
	}
}

// reason says why the stream has ended, which End reports as err. If a direction was closed
// before a reset, that is the reason.
func (s *observedStream) reason(err error) string {
	isReset := errors.Is(err, net.ErrClosed) || err == mux.ErrReset //nolint:errorlint // not one that names a limit
	switch {
	case err == nil, isReset && s.halfClosed:
		return "the " + s.name(s.closedByPeer) + " closed the connection"
	case isReset:
		return "the " + s.name(!errors.Is(err, net.ErrClosed)) + " reset the connection"
	}
	return err.Error()
}

// name returns the name of the peer, or of this end.
func (s *observedStream) name(peer bool) string {
	d := s.sent.direction
	if peer {
		d = s.received.direction
	}
	if d == nil {
		return "server" // which has sent nothing yet
	}
	return d.sender.String()
}

// closed remembers whether the peer closed its direction first.
func (s *observedStream) closed(byPeer bool) {
	if !s.halfClosed {
		s.halfClosed, s.closedByPeer = true, byPeer
	}
}

// end ends the trace of the stream, because of err.
func (s *observedStream) end(err error) {
	defer s.drop()
	defer s.recover()
	switch {
	case s.isOther:
		e := Event{
			Type: Other, Time: time.Now(), Session: s.session, Stream: s.stream, Code: NoStatus, Duration: time.Since(s.begun),
			Sent: Count{Bytes: s.sent.bytes}, Received: Count{Bytes: s.received.bytes},
		}
		s.tracer.current().put(&e)
	case s.conn != nil && !s.ignored:
		s.conn.close(s.reason(err))
	}
}
