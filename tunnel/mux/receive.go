package mux

import (
	"bytes"
	"fmt"
	"log/slog"
)

// maxReceived bounds ProtocolError.Received, in bytes.
const maxReceived = 256

// receive handles the peer's frames until the session ends. It is the only
// goroutine that every session has.
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

// readHeader reads a header. It fails at the first wrong byte instead of waiting
// for 12 bytes: a peer that doesn't speak yamux may send fewer and wait.
func (s *Session) readHeader() error {
	h := &s.header
	for n := 0; n < headerSize; {
		k, err := s.br.Read(h[n:])
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

// notYamux returns the error for a header of which n bytes have been read.
func (s *Session) notYamux(format string, value byte, n int) error {
	more, _ := s.br.Peek(min(s.br.Buffered(), maxReceived-n))
	return &ProtocolError{
		Text:     fmt.Sprintf(format+": the peer doesn't speak yamux", value),
		Received: append(bytes.Clone(s.header[:n]), more...),
	}
}

// receivePing replies to the peer's Ping, or completes the Ping that h replies to.
//
// This end's Ping IDs start at a random value. If the peer sends a Ping with the ID
// of a pending one, it echoes bytes and doesn't speak yamux.
func (s *Session) receivePing(h *header) error {
	id, isRequest := h.length(), h.flags()&flagSYN != 0
	s.mu.Lock()
	replied := s.pings[id]
	if replied != nil && !isRequest {
		delete(s.pings, id)
		close(replied)
	}
	s.mu.Unlock()
	switch {
	case !isRequest:
		return nil
	case replied != nil:
		return &ProtocolError{Text: "the peer doesn't speak yamux: it echoes the bytes that it receives"}
	}
	return s.reply(newHeader(typePing, flagACK, 0, id))
}

func (s *Session) receiveGoAway(code uint32) error {
	switch code {
	case goAwayNormal:
		select {
		case <-s.remoteGoAway:
		default:
			close(s.remoteGoAway) // only this goroutine does
		}
		return nil
	case goAwayProtocol:
		return &ProtocolError{Text: fmt.Sprintf("the peer reports a protocol error: it may have the yamux role %v too", s.role), ByPeer: true}
	case goAwayInternal:
		return &ProtocolError{Text: "the peer reports an internal error", ByPeer: true}
	}
	return &ProtocolError{Text: fmt.Sprintf("the peer sent GoAway with the unknown code %d", code), ByPeer: true}
}

// reply sends a reply to the peer's frame. It blocks while maxReplies are queued.
func (s *Session) reply(h header) error {
	if s.conn.Queued() < maxReplies*headerSize {
		s.conn.QueueFrame(h[:])
		return nil
	}
	return s.conn.WriteFrame(h[:], nil)
}

func (s *Session) receiveStreamFrame(h *header) error {
	id, flags, length := h.stream(), h.flags(), h.length()
	if flags&flagSYN != 0 && flags&flagRST == 0 { // SYN with RST opens nothing
		if err := s.receiveSYN(id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	st := s.streams[id]
	s.mu.Unlock()
	switch {
	case st == nil: // reset by this end, ended, or refused
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
	if s.conn.Queued() > maxQueued { // the peer opens streams but doesn't receive ACKs and FINs
		if err := s.conn.WriteFrame(nil, nil); err != nil {
			return err
		}
	}
	s.mu.Lock()
	duplicate := s.streams[id] != nil
	tooMany := s.numIncoming >= s.opts.MaxStreams
	refused := tooMany || s.localGoAway || len(s.backlog) >= acceptBacklog
	s.mu.Unlock()
	if tooMany && !s.warnedTooMany {
		s.warnedTooMany = true
		s.logger.Warn("stream refused", slog.Int("max_streams", s.opts.MaxStreams))
	}
	switch {
	case duplicate:
		return s.sameRoleError(id)
	case refused:
		return s.refuse(id)
	}
	return s.addIncoming(newStream(s, id, true, s.observe(id, false)))
}

func (s *Session) refuse(id uint32) error {
	s.logger.Debug("yamux: stream refused", slog.Uint64("stream", uint64(id)))
	return s.reply(newHeader(typeWindowUpdate, flagRST, id, 0))
}

// addIncoming adds st, which the peer opens, to the backlog. It repeats the checks of
// receiveSYN, because s.mu was released to call Options.Observe.
func (s *Session) addIncoming(st *Stream) error {
	s.mu.Lock()
	refused, duplicate := s.localGoAway || s.err != nil, s.streams[st.id] != nil
	if !refused && !duplicate {
		s.streams[st.id] = st
		s.numIncoming++
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
	signal(s.backlogReady)
	return nil
}

// receiveBody reads the body of a data frame and delivers it to st.
func (s *Session) receiveBody(st *Stream, length uint32) error {
	if length == 0 {
		return nil
	}
	if !st.startFrame(length) { // before the body uses memory
		return &ProtocolError{Text: "recv window exceeded", sendGoAway: true}
	}
	var c *chunk
	defer func() { c.free() }()
	for left := int(length); left > 0; {
		if c == nil {
			c = newChunk(min(left, maxChunk))
		}
		n, err := s.readBody(c.data[:min(left, len(c.data))])
		left -= n
		if c.r, c.w = 0, n; n > 0 && st.deliver(c) {
			c = nil
		}
		s.opts.Unread.enforce()
		if err != nil {
			return err
		}
	}
	s.counters.received(int(length))
	return nil
}

// readBody reads a part of a body. If the reader's buffer held only the first bytes of a large
// body, it also waits for the next bytes, which the peer is sending already: a relay would
// otherwise send the former in a frame of their own.
func (s *Session) readBody(p []byte) (int, error) {
	first := s.br.Buffered()
	n, err := s.br.Read(p)
	if first == 0 || n == len(p) || len(p) <= s.br.Size() || err != nil {
		return n, err
	}
	more, err := s.br.Read(p[n:])
	return n + more, err
}

// dropBody reads and discards the body of a frame.
func (s *Session) dropBody(h *header) error {
	if h.kind() != typeData {
		return nil
	}
	_, err := s.br.Discard(int(h.length()))
	return err
}
