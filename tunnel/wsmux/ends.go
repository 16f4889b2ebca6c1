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

func flagsOf(header []byte) uint16 { return binary.BigEndian.Uint16(header[2:]) }
