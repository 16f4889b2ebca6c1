package wsmux

import (
	"encoding/binary"
)

// ends is what this end knows of a stream from the frames that pass: what may be
// sent, and what has come. yamux keeps the same accounts but lets nobody see
// them, and what passes through it is copied and handed from goroutine to
// goroutine. So data goes past it, and yamux is left with opening and closing.
type ends struct {
	out *sendWindow
	in  *inbox // nil: yamux has it

	fin [2]bool // sent, come; Session.endsMu guards it
}

// endsOf returns those of a stream that yamux has handed out. It may have been
// reset meanwhile.
func (s *Session) endsOf(stream uint32) *ends {
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	if e := s.ends[stream]; e != nil {
		return e
	}
	e := s.newEnds(stream)
	e.reset(true)
	return e
}

func (s *Session) newEnds(stream uint32) *ends {
	e := &ends{out: newSendWindow()}
	if !s.shared {
		e.in = newInbox(s, stream)
	}
	return e
}

// begin returns the ends of the stream that a frame belongs to, or nil. The frame
// may be the stream's first, of either end.
func (s *Session) begin(header []byte) *ends {
	stream := binary.BigEndian.Uint32(header[4:])
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	if flagsOf(header)&yamuxFlagSYN != 0 {
		s.ends[stream] = s.newEnds(stream)
	}
	return s.ends[stream]
}

// finish takes notice of what a frame of e's stream says: the peer grants more,
// or one end has ended.
func (s *Session) finish(e *ends, header []byte, fromPeer bool) {
	if fromPeer && header[1] == yamuxTypeWindowUpdate {
		e.out.add(binary.BigEndian.Uint32(header[8:]))
	}
	flags := flagsOf(header)
	if flags&(yamuxFlagFIN|yamuxFlagRST) == 0 {
		return
	}
	over := flags&yamuxFlagRST != 0
	if over {
		e.reset(fromPeer)
	} else if fromPeer && e.in != nil {
		e.in.finish()
	}
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	if fromPeer {
		e.fin[1] = true
	} else {
		e.fin[0] = true
	}
	if over || e.fin[0] && e.fin[1] {
		delete(s.ends, binary.BigEndian.Uint32(header[4:]))
	}
}

// reset ends both directions at once.
func (e *ends) reset(byPeer bool) {
	e.out.close()
	if e.in != nil {
		e.in.reset(byPeer)
	}
}

// reset tells the peer that a stream has ended at once. yamux, which can't do that,
// will see the same from the peer.
func (s *Session) reset(stream uint32, e *ends) {
	h := resetHeader(stream)
	s.finish(e, h, false)
	_ = s.t.send(h, nil) // an error shows elsewhere
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	s.resets = append(s.resets, stream)
}

// nextReset returns the header of a reset that yamux is to see, or nil.
func (s *Session) nextReset() []byte {
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	n := len(s.resets)
	if n == 0 {
		return nil
	}
	h := resetHeader(s.resets[n-1])
	s.resets = s.resets[:n-1]
	return h
}

func resetHeader(stream uint32) []byte { return header(yamuxTypeWindowUpdate, yamuxFlagRST, stream, 0) }

// header returns that of a frame of yamux's.
func header(kind byte, flags uint16, stream, length uint32) []byte {
	h := make([]byte, yamuxHeaderSize)
	h[1] = kind
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], length)
	return h
}

func flagsOf(header []byte) uint16 { return binary.BigEndian.Uint16(header[2:]) }
