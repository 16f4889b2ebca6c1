package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/ws"
)

// streamMemory is the memory of a stream of a Relay, in bytes, charged to the Tracer.
const streamMemory = 512

// Relay traces a session between two other programs, from the bytes of its WebSocket after
// the handshake. Its methods may be called from any goroutine. They don't keep a reference
// to p, and don't change it.
type Relay struct {
	tracer *Tracer
	number uint64

	mu        sync.Mutex // guards the fields below
	dialing   *relaySide
	accepting *relaySide
	streams   map[uint32]*relayStream
	closing   string // why the session ends, as soon as that is known
	closeCode int    // the status code of the first Close frame; 0: it has none
	stopped   bool   // streams aren't traced any more
}

// relaySide is the direction of a Relay in which one side sends.
type relaySide struct {
	name  string
	ws    ws.Scanner
	yamux mux.Scanner
}

// relayStream is a stream that neither side has reset, and not both have closed.
type relayStream struct {
	observedStream
	closed [2]bool // by the dialing side, by the accepting side
}

// Relay returns a Relay for the session with this number. That of a nil Tracer only knows
// why the session ended.
func (t *Tracer) Relay(number uint64) *Relay {
	r := &Relay{tracer: t, number: number, stopped: t == nil, streams: map[uint32]*relayStream{}}
	r.dialing, r.accepting = &relaySide{name: "dialing side"}, &relaySide{name: "accepting side"}
	for _, side := range []*relaySide{r.dialing, r.accepting} {
		if t != nil {
			side.ws.Data = func(kind int, p []byte) { r.data(side, kind, p) }
		}
		side.ws.Control = func(opcode int, p []byte) { r.control(side, opcode, p) }
		side.yamux.Open = r.open
		side.yamux.Data = func(stream uint32, p []byte) { r.streamData(side, stream, p) }
		side.yamux.Close = func(stream uint32, reset bool) { r.closeStream(side, stream, reset) }
	}
	return r
}

// CloseCode returns the status code of the first Close frame, or 0 if there was none.
func (r *Relay) CloseCode() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closeCode
}

// Streams returns how many streams are open, as far as they are traced.
func (r *Relay) Streams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams)
}

// Dialing traces the next bytes that the dialing side of the WebSocket sends.
func (r *Relay) Dialing(p []byte) { r.scan(r.dialing, p) }

// Accepting traces the next bytes that the accepting side sends.
func (r *Relay) Accepting(p []byte) { r.scan(r.accepting, p) }

func (r *Relay) scan(side *relaySide, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			r.stop(fmt.Sprintf("a bug of wstun ended the trace of this session: %v", v))
		}
	}()
	side.ws.Scan(p)
	switch err := side.ws.Err(); {
	case errors.Is(err, ws.ErrExtension):
		r.stop("compressed WebSocket messages: not decoded")
	case err != nil:
		r.stop(err.Error())
	}
}

// data handles a part of a message.
func (r *Relay) data(side *relaySide, kind int, p []byte) {
	if kind != websocket.BinaryMessage {
		r.stop("text messages: not yamux")
		return
	}
	side.yamux.Scan(p)
	if err := side.yamux.Err(); err != nil {
		r.stop(err.Error())
	}
}

// control remembers the first Close frame.
func (r *Relay) control(side *relaySide, opcode int, p []byte) {
	if opcode != websocket.CloseMessage || r.closing != "" {
		return
	}
	r.closing = "close without a status"
	if len(p) >= 2 {
		r.closeCode = int(binary.BigEndian.Uint16(p))
		r.closing = fmt.Sprintf("close %d", r.closeCode)
		if len(p) > 2 {
			r.closing += ": " + string(p[2:])
		}
	}
	r.closing += ", from the " + side.name
}

func (r *Relay) open(stream uint32) {
	if r.streams[stream] != nil || !r.tracer.isWatched() {
		return
	}
	if !r.tracer.charge(streamMemory) {
		r.tracer.lose(Losses{Conns: 1})
		return
	}
	r.streams[stream] = &relayStream{observedStream: observedStream{tracer: r.tracer, session: r.number, stream: stream}}
}

func (r *Relay) streamData(side *relaySide, stream uint32, p []byte) {
	s := r.streams[stream]
	switch {
	case s == nil:
	case !r.tracer.isWatched():
		r.endStream(s, nil)
	case side == r.dialing:
		s.scan(p, &s.sent)
	default:
		s.scan(p, &s.received)
	}
}

func (r *Relay) closeStream(side *relaySide, stream uint32, reset bool) {
	s := r.streams[stream]
	if s == nil {
		return
	}
	byPeer := side == r.accepting
	s.observedStream.closed(byPeer)
	if s.closed[0], s.closed[1] = s.closed[0] || !byPeer, s.closed[1] || byPeer; !reset && (!s.closed[0] || !s.closed[1]) {
		return
	}
	var err error
	switch {
	case reset && byPeer:
		err = mux.ErrReset
	case reset:
		err = net.ErrClosed
	}
	r.endStream(s, err)
}

func (r *Relay) endStream(s *relayStream, err error) {
	s.end(err)
	delete(r.streams, s.stream)
	r.tracer.charge(-streamMemory)
}

// stop ends the tracing of streams, because of reason. Close frames are still found.
func (r *Relay) stop(reason string) {
	if r.stopped {
		return
	}
	r.tracer.current().put(&Event{Type: Other, Time: time.Now(), Session: r.number, Code: NoStatus, Message: reason})
	r.endAll(errors.New(reason))
}

func (r *Relay) endAll(err error) {
	r.stopped = true
	r.dialing.ws.Data, r.accepting.ws.Data = nil, nil
	for _, s := range r.streams {
		r.endStream(s, err)
	}
}

// Lost reports that a direction of the connection has ended. Reason says why, unless a
// Close frame has said it before.
func (r *Relay) Lost(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing == "" {
		r.closing = reason
	}
}

// End ends the trace of the session, when both directions have ended. It returns why: the
// reason of the first Close frame, or of the first call of Lost.
func (r *Relay) End() (reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.endAll(errors.New(r.closing))
	}
	return r.closing
}
