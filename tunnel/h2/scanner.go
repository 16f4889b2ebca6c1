package h2

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
)

// The errors of [Scanner.Err].
var (
	// ErrNotHTTP2 means that the connection doesn't begin as HTTP/2 does.
	ErrNotHTTP2 = errors.New("not HTTP/2")

	// ErrMalformed means that a frame is malformed or in the wrong place, which
	// ends an HTTP/2 connection (RFC 9113 §5.4.1).
	ErrMalformed = errors.New("malformed HTTP/2 frame")
)

// Scanner follows one direction of an HTTP/2 connection. See [NewScanner].
type Scanner struct {
	visitor Visitor
	err     error

	frame Header // the current frame; of a header block, the first one
	left  int    // bytes of the payload still to scan

	preface int // bytes of the client's preface still to scan
	fields  int // bytes before data or a header block, still to scan
	pad     int // bytes of padding at the end
	have    int // bytes of header
	header  [HeaderLen]byte

	begun   bool // with the header of a SETTINGS frame
	greeted bool // the first frame is complete
	block   bool // a header block goes on in CONTINUATION frames
	padded  bool // the length of the padding is still to scan
}

// NewScanner returns a Scanner at the beginning of a connection.
func NewScanner(d Direction, v Visitor) *Scanner {
	s := &Scanner{visitor: v}
	if d == FromClient {
		s.preface = len(http2.ClientPreface)
	}
	return s
}

// Scan follows p, the next bytes of the connection. It returns the length of the
// longest prefix of p at whose end another frame may follow, 0 if there is none.
// Once the Scanner has stopped, it ignores p.
func (s *Scanner) Scan(p []byte) (whole int) {
	all := len(p)
	if s.preface > 0 {
		p = s.scanPreface(p)
	}
	for len(p) > 0 && s.err == nil {
		if s.left == 0 {
			if s.have == 0 && len(p) >= HeaderLen {
				s.begin(p[:HeaderLen])
				p = p[HeaderLen:]
			} else {
				n := copy(s.header[s.have:], p)
				p = p[n:]
				if s.have += n; s.have < HeaderLen {
					break
				}
				s.have = 0
				s.begin(s.header[:])
			}
		}
		if n := min(s.left, len(p)); n > 0 {
			s.payload(p[:n])
			p = p[n:]
		}
		if s.left == 0 && !s.block && s.err == nil {
			s.end()
			whole = all - len(p)
		}
	}
	return whole
}

// AtBoundary reports whether another frame may follow the bytes scanned so far:
// they end with a whole frame, and not within a header block.
func (s *Scanner) AtBoundary() bool {
	return s.begun && s.have == 0 && s.left == 0 && !s.block && s.err == nil
}

// Ahead returns a copy of s without a visitor, to scan bytes before they pass.
func (s *Scanner) Ahead() Scanner {
	ahead := *s
	ahead.visitor = Visitor{}
	return ahead
}

// Greeted reports whether the whole greeting has been scanned: the client's preface
// and a SETTINGS frame (RFC 9113 §3.4).
func (s *Scanner) Greeted() bool { return s.greeted }

// Err returns why the Scanner has stopped: ErrNotHTTP2 or ErrMalformed. It is nil
// while the Scanner goes on.
func (s *Scanner) Err() error { return s.err }

// scanPreface returns p without its part of the preface.
func (s *Scanner) scanPreface(p []byte) []byte {
	rest := http2.ClientPreface[len(http2.ClientPreface)-s.preface:]
	n := min(len(rest), len(p))
	if rest[:n] != string(p[:n]) {
		s.err = ErrNotHTTP2
		return nil
	}
	s.preface -= n
	return p[n:]
}

// begin begins the frame with the given header.
func (s *Scanner) begin(header []byte) {
	h := Header{
		Type:   http2.FrameType(header[3]),
		Flags:  http2.Flags(header[4]),
		Length: uint32(header[0])<<16 | uint32(header[1])<<8 | uint32(header[2]),
		Stream: binary.BigEndian.Uint32(header[5:]) &^ (1 << 31), // a reserved bit
	}
	s.left = int(h.Length)
	switch {
	case !s.begun && h.Type != http2.FrameSettings:
		s.err = ErrNotHTTP2
		return
	case (h.Type == http2.FrameContinuation) != s.block, s.block && h.Stream != s.frame.Stream: // RFC 9113 §6.10
		s.err = ErrMalformed
		return
	case s.block:
		s.pad = 0
		s.block = !h.Flags.Has(http2.FlagContinuationEndHeaders)
		return
	}
	s.begun = true
	s.frame = h
	switch h.Type {
	case http2.FrameData: // RFC 9113 §6.1
		s.padded = h.Flags.Has(http2.FlagDataPadded)
	case http2.FrameHeaders: // §6.2
		s.padded = h.Flags.Has(http2.FlagHeadersPadded)
		s.block = !h.Flags.Has(http2.FlagHeadersEndHeaders)
		if h.Flags.Has(http2.FlagHeadersPriority) {
			s.fields = 5
		}
	case http2.FramePushPromise: // §6.6
		s.padded = h.Flags.Has(http2.FlagPushPromisePadded)
		s.block = !h.Flags.Has(http2.FlagPushPromiseEndHeaders)
		s.fields = 4
	}
	if s.padded {
		s.fields++
	}
	if s.fields > s.left {
		s.err = ErrMalformed
		return
	}
	if s.visitor.Frame != nil {
		s.visitor.Frame(h)
	}
}

// payload scans p, which is a part of the current frame.
func (s *Scanner) payload(p []byte) {
	s.left -= len(p)
	if s.fields > 0 {
		p = s.scanFields(p)
	}
	if s.visitor.Payload == nil || s.err != nil {
		return
	}
	if n := min(len(p), len(p)+s.left-s.pad); n > 0 { // without the padding at the end
		s.visitor.Payload(s.frame, p[:n])
	}
}

// scanFields returns p without the fields at the beginning of a payload.
func (s *Scanner) scanFields(p []byte) []byte {
	if s.padded {
		s.padded, s.pad = false, int(p[0])
		if s.fields+s.pad > s.left+len(p) { // RFC 9113 §6.1
			s.err = ErrMalformed
			return nil
		}
	}
	n := min(s.fields, len(p))
	s.fields -= n
	return p[n:]
}

// end ends the current frame, and with it its header block.
func (s *Scanner) end() {
	s.pad, s.greeted = 0, true
	if s.visitor.End != nil {
		s.visitor.End(s.frame)
	}
}
