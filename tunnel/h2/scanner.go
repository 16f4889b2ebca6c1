package h2

import (
	"errors"

	"golang.org/x/net/http2"
)

// The errors of [Scanner.Err].
var (
	// ErrNotHTTP2 means that the connection doesn't begin with an HTTP/2 preface.
	ErrNotHTTP2 = errors.New("not HTTP/2")

	// ErrMalformed means that a frame is malformed or in the wrong place: a
	// connection error (RFC 9113 §5.4.1).
	ErrMalformed = errors.New("malformed HTTP/2 frame")
)

// Scanner scans one direction of an HTTP/2 connection. Use [NewScanner].
type Scanner struct {
	visitor Visitor
	err     error

	frame       Header // of the current frame, or of the first one of a header block
	payloadLeft int    // bytes of the payload still to scan

	prefaceLeft int // bytes of http2.ClientPreface still to scan
	fieldsLeft  int // bytes before data or a header block still to scan
	padding     int // bytes of padding at the end of the payload
	headerLen   int // bytes in header
	header      [HeaderLen]byte

	begun         bool // the header of the first SETTINGS frame has been scanned
	prefaceDone   bool // that frame is complete
	inHeaderBlock bool // a CONTINUATION frame must follow
	padded        bool // the length of the padding is still to scan
}

// NewScanner returns a Scanner at the beginning of direction d of a connection.
func NewScanner(d Direction, v Visitor) *Scanner {
	s := &Scanner{visitor: v}
	if d == FromClient {
		s.prefaceLeft = len(http2.ClientPreface)
	}
	return s
}

// Scan scans p, the next bytes of the connection, and calls the visitor. It returns the
// offset in p of the last frame boundary, or 0 if p contains none. After an error, it
// ignores p.
func (s *Scanner) Scan(p []byte) (boundary int) {
	all := len(p)
	if s.prefaceLeft > 0 {
		p = s.scanPreface(p)
	}
	for len(p) > 0 && s.err == nil {
		if s.payloadLeft == 0 {
			if s.headerLen == 0 && len(p) >= HeaderLen {
				s.beginFrame(p[:HeaderLen])
				p = p[HeaderLen:]
			} else {
				n := copy(s.header[s.headerLen:], p)
				p = p[n:]
				if s.headerLen += n; s.headerLen < HeaderLen {
					break
				}
				s.headerLen = 0
				s.beginFrame(s.header[:])
			}
		}
		if n := min(s.payloadLeft, len(p)); n > 0 {
			s.payloadLeft -= n
			if s.fieldsLeft > 0 || s.visitor.Payload != nil {
				s.scanPayload(p[:n])
			}
			p = p[n:]
		}
		if s.payloadLeft == 0 && !s.inHeaderBlock && s.err == nil {
			s.endFrame()
			boundary = all - len(p)
		}
	}
	return boundary
}

// AtBoundary reports whether the bytes scanned so far end at a frame boundary, where any
// frame may follow. Between the frames of a header block there is none.
func (s *Scanner) AtBoundary() bool {
	return s.begun && s.headerLen == 0 && s.payloadLeft == 0 && !s.inHeaderBlock && s.err == nil
}

// Lookahead returns a copy of s without a visitor, to scan bytes that s will scan later.
func (s *Scanner) Lookahead() Scanner {
	ahead := *s
	ahead.visitor = Visitor{}
	return ahead
}

// PrefaceDone reports whether the whole connection preface has been scanned: up to the
// end of the first SETTINGS frame (RFC 9113 §3.4).
func (s *Scanner) PrefaceDone() bool { return s.prefaceDone }

// Err returns nil, or why the Scanner has stopped: ErrNotHTTP2 or ErrMalformed.
func (s *Scanner) Err() error { return s.err }

// scanPreface scans http2.ClientPreface and returns the rest of p.
func (s *Scanner) scanPreface(p []byte) []byte {
	rest := http2.ClientPreface[len(http2.ClientPreface)-s.prefaceLeft:]
	n := min(len(rest), len(p))
	if rest[:n] != string(p[:n]) {
		s.err = ErrNotHTTP2
		return nil
	}
	s.prefaceLeft -= n
	return p[n:]
}

// beginFrame starts the frame with the given header.
func (s *Scanner) beginFrame(header []byte) {
	h := ParseHeader(header)
	s.payloadLeft = int(h.Length)
	switch {
	case !s.begun && h.Type != http2.FrameSettings:
		s.err = ErrNotHTTP2
		return
	case (h.Type == http2.FrameContinuation) != s.inHeaderBlock, s.inHeaderBlock && h.Stream != s.frame.Stream: // RFC 9113 §6.10
		s.err = ErrMalformed
		return
	case s.inHeaderBlock:
		s.padding = 0
		s.inHeaderBlock = !h.Flags.Has(http2.FlagContinuationEndHeaders)
		return
	}
	s.begun = true
	s.frame = h
	switch h.Type {
	case http2.FrameData: // RFC 9113 §6.1
		s.expectFields(0, h.Flags.Has(http2.FlagDataPadded))
	case http2.FrameHeaders: // §6.2
		s.inHeaderBlock = !h.Flags.Has(http2.FlagHeadersEndHeaders)
		n := 0
		if h.Flags.Has(http2.FlagHeadersPriority) {
			n = 5
		}
		s.expectFields(n, h.Flags.Has(http2.FlagHeadersPadded))
	case http2.FramePushPromise: // §6.6
		s.inHeaderBlock = !h.Flags.Has(http2.FlagPushPromiseEndHeaders)
		s.expectFields(4, h.Flags.Has(http2.FlagPushPromisePadded))
	}
	if s.visitor.Frame != nil {
		s.visitor.Frame(h)
	}
}

// expectFields expects n bytes of fields at the beginning of the payload, after the
// length of the padding if there is padding.
func (s *Scanner) expectFields(n int, padded bool) {
	if s.padded = padded; padded {
		n++
	}
	if s.fieldsLeft = n; n > s.payloadLeft {
		s.err = ErrMalformed
	}
}

// scanPayload scans p, the next part of the current frame's payload. s.payloadLeft excludes
// it.
func (s *Scanner) scanPayload(p []byte) {
	if s.fieldsLeft > 0 {
		p = s.scanFields(p)
	}
	if s.visitor.Payload == nil || s.err != nil {
		return
	}
	if n := min(len(p), len(p)+s.payloadLeft-s.padding); n > 0 { // without the padding at the end
		s.visitor.Payload(s.frame, p[:n])
	}
}

// scanFields scans the fields before data or a header block and returns the rest of p.
func (s *Scanner) scanFields(p []byte) []byte {
	if s.padded {
		s.padded, s.padding = false, int(p[0])
		if s.fieldsLeft+s.padding > s.payloadLeft+len(p) { // RFC 9113 §6.1
			s.err = ErrMalformed
			return nil
		}
	}
	n := min(s.fieldsLeft, len(p))
	s.fieldsLeft -= n
	return p[n:]
}

// endFrame ends the current frame or header block.
func (s *Scanner) endFrame() {
	s.padding, s.prefaceDone = 0, true
	if s.visitor.End != nil {
		s.visitor.End(s.frame)
	}
}
