package mux

import (
	"bytes"
	"fmt"
	"log/slog"
)

// maxUnreadable bounds ProtocolError.Received, in bytes.
const maxUnreadable = 256

// receive handles the frames of the peer until the session ends. It is the only
// goroutine that a session always has.
func (s *Session) receive() {
	for {
		if err := s.receiveFrame(); err != nil {
			s.CloseWithError(err)
			return
		}
	}
}

func (s *Session) receiveFrame() error {
	if err := s.readHeader(); err != nil {
		return err
	}
	h := &s.header
	switch h.kind() {
	case typePing:
		return s.receivePing(h)
	case typeGoAway:
		return s.receiveGoAway(h.length())
	}
	return s.receiveStreamFrame(h)
}

// readHeader reads a header. It fails at the first byte that can't belong to
// one, so that a peer that doesn't speak yamux and waits is recognized.
func (s *Session) readHeader() error {
	h := &s.header
	for n := 0; n < headerSize; {
		k, err := s.in.Read(h[n:])
		n += k
		switch {
		case n >= 1 && h.version() != version:
			return s.notYamux("invalid protocol version: %d", h.version(), n)
		case n >= 2 && h.kind() > typeGoAway:
			return s.notYamux("invalid message type: %d", h.kind(), n)
		case n == headerSize && h.kind() <= typeWindowUpdate && h.stream() == 0:
			return s.notYamux("a frame of type %d on stream 0", h.kind(), n)
		case err != nil:
			return err
		}
	}
	return nil
}

// notYamux is the error of a header of which n bytes have been read.
func (s *Session) notYamux(format string, value byte, n int) error {
	more, _ := s.in.Peek(min(s.in.Buffered(), maxUnreadable-n))
	return &ProtocolError{
		Text:     fmt.Sprintf(format+": the peer doesn't speak yamux", value),
		Received: append(bytes.Clone(s.header[:n]), more...),
	}
}

// receivePing replies to a Ping, or ends the wait of the one that h replies to.
//
// The Pings of this end are numbered from a random value on: a Ping of the peer
// with the number of one that waits for its reply can only be that one, sent
// back.
func (s *Session) receivePing(h *header) error {
	id, asked := h.length(), h.flags()&flagSYN != 0
	s.mu.Lock()
	replied := s.pings[id]
	if replied != nil && !asked {
		delete(s.pings, id)
		close(replied)
	}
	s.mu.Unlock()
	switch {
	case !asked:
		return nil
	case replied != nil:
		return &ProtocolError{Text: "the peer doesn't speak yamux: it sends back what it gets"}
	}
	return s.reply(newHeader(typePing, flagACK, 0, id))
}

func (s *Session) receiveGoAway(code uint32) error {
	switch code {
	case goAwayNormal:
		select {
		case <-s.remoteGone:
		default:
			close(s.remoteGone) // by this goroutine alone
		}
		return nil
	case goAwayProtocol:
		return &ProtocolError{Text: fmt.Sprintf("the peer reports a protocol error: it may have the yamux role %v too", s.role), ByPeer: true}
	case goAwayInternal:
		return &ProtocolError{Text: "the peer reports an internal error", ByPeer: true}
	}
	return &ProtocolError{Text: fmt.Sprintf("the peer goes away with the unknown code %d", code), ByPeer: true}
}

// reply sends a frame that the peer has provoked. It blocks while the peer takes
// none of those before.
func (s *Session) reply(h header) error {
	if s.conn.Queued() < maxReplies*headerSize {
		s.conn.QueueFrame(h[:])
		return nil
	}
	return s.conn.WriteFrame(h[:], nil)
}

func (s *Session) receiveStreamFrame(h *header) error {
	id, flags, length := h.stream(), h.flags(), h.length()
	if flags&flagSYN != 0 && flags&flagRST == 0 { // a stream that is opened and reset at once never was
		if err := s.receiveSYN(id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	st := s.streams[id]
	s.mu.Unlock()
	switch {
	case st == nil: // reset at this end, ended, or refused
		s.logger.Debug("yamux: frame for missing stream", slog.Uint64("stream", uint64(id)), slog.Uint64("length", uint64(length)))
		return s.dropBody(h)
	case flags&flagRST != 0:
		st.abort(ErrReset, 0)
		return s.dropBody(h)
	}
	if flags&flagACK != 0 {
		st.receiveACK()
	}
	if h.kind() == typeWindowUpdate {
		st.receiveUpdate(length)
	} else if err := s.receiveBody(st, length); err != nil {
		return err
	}
	if flags&flagFIN != 0 {
		return st.receiveFIN()
	}
	return nil
}

// receiveSYN adds a stream that the peer opens, or refuses it.
func (s *Session) receiveSYN(id uint32) error {
	if s.conn.Queued() > maxQueued { // the peer opens and closes streams, and takes no ACK and no FIN
		if err := s.conn.WriteFrame(nil, nil); err != nil {
			return err
		}
	}
	s.mu.Lock()
	duplicate := s.streams[id] != nil
	tooMany := s.incoming >= s.opts.MaxStreams
	refused := tooMany || s.goneAway || len(s.backlog) >= acceptBacklog
	s.mu.Unlock()
	if tooMany && !s.warned {
		s.warned = true
		s.logger.Warn("stream refused", slog.Int("max_streams", s.opts.MaxStreams))
	}
	switch {
	case duplicate:
		return s.sameRoleError(id)
	case refused:
		return s.refuse(id)
	}
	return s.addIncoming(newStream(s, id, true))
}

func (s *Session) refuse(id uint32) error {
	s.logger.Debug("yamux: stream refused", slog.Uint64("stream", uint64(id)))
	return s.reply(newHeader(typeWindowUpdate, flagRST, id, 0))
}

// addIncoming adds a stream that the peer opens, unless the session has ended,
// has sent GoAway or has opened a stream with this number meanwhile.
func (s *Session) addIncoming(st *Stream) error {
	s.mu.Lock()
	refused, duplicate := s.goneAway || s.err != nil, s.streams[st.id] != nil
	if !refused && !duplicate {
		s.streams[st.id] = st
		s.incoming++
		s.backlog = append(s.backlog, st)
	}
	s.mu.Unlock()
	switch {
	case duplicate:
		err := s.sameRoleError(st.id)
		st.observer.end(err)
		return err
	case refused:
		st.observer.end(ErrReset)
		return s.refuse(st.id)
	}
	signal(s.acceptable)
	return nil
}

// receiveBody delivers the body of a data frame to st.
func (s *Session) receiveBody(st *Stream, length uint32) error {
	if length == 0 {
		return nil
	}
	if !st.mayReceive(length) { // found out before the body takes memory
		return &ProtocolError{Text: "recv window exceeded", announce: true}
	}
	var c *chunk
	defer func() { c.free() }()
	for left := int(length); left > 0; {
		if c == nil {
			c = newChunk(min(left, maxChunk))
		}
		n, err := s.in.Read(c.data[:min(left, len(c.data))])
		left -= n
		if c.r, c.w = 0, n; n > 0 && st.deliver(c) {
			c = nil
		}
		if err != nil {
			return err
		}
	}
	s.counters.received(int(length))
	return nil
}

// dropBody reads the body of a frame whose stream doesn't want it.
func (s *Session) dropBody(h *header) error {
	if h.kind() != typeData {
		return nil
	}
	_, err := s.in.Discard(int(h.length()))
	return err
}
