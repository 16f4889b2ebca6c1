package ws

import (
	"encoding/binary"
	"errors"

	"github.com/gorilla/websocket"
)

// ErrExtension is the error of a Scanner for frames that an extension has changed, such as
// compressed ones (RFC 7692).
var ErrExtension = errors.New("an extension is in use")

// errFrame is the error of a Scanner for malformed frames.
var errFrame = errors.New("a malformed WebSocket frame")

// Scanner scans the frames of one direction of a WebSocket connection (RFC 6455 §5)
// between two other programs, after the handshake, whether they are masked or not. It may be
// used by one goroutine at a time.
type Scanner struct {
	// Data is called with consecutive parts of the payload of messages, unmasked.
	// kind is websocket.BinaryMessage or websocket.TextMessage. Data must not keep a
	// reference to p. It may be set to nil at any time.
	Data func(kind int, p []byte)

	// Control is called with the opcode and the payload of each control frame.
	Control func(opcode int, payload []byte)

	err     error
	head    [maxFrameHeader]byte
	headLen int    // bytes in head
	left    uint64 // bytes of the payload still to scan
	opcode  byte   // of the current frame
	kind    int    // of the current message
	masked  bool
	mask    mask
	offset  int // in the payload
	control []byte
	scratch []byte
}

// scratchSize is how many bytes are unmasked at a time.
const scratchSize = 4096

// Scan scans p, the next bytes of the connection. It doesn't change p. After ErrExtension,
// it only looks for control frames; after another error, it ignores p.
func (s *Scanner) Scan(p []byte) {
	for len(p) > 0 && (s.err == nil || s.err == ErrExtension) { //nolint:errorlint // its own
		if s.left > 0 {
			n := int(min(s.left, uint64(len(p)))) //nolint:gosec // at most len(p)
			s.payload(p[:n])
			s.left -= uint64(n)
			p = p[n:]
			if s.left == 0 {
				s.endFrame()
			}
			continue
		}
		n := copy(s.head[s.headLen:s.headSize()], p)
		s.headLen += n
		p = p[n:]
		if s.headLen == s.headSize() {
			s.beginFrame()
		}
	}
}

// Err returns nil, or why the Scanner has stopped: ErrExtension or another error.
func (s *Scanner) Err() error { return s.err }

// headSize returns the length of the current header, as far as it is known.
func (s *Scanner) headSize() int {
	if s.headLen < 2 {
		return 2
	}
	size := 2 + lengthSize(uint64(s.head[1]&^maskBit))
	if s.head[1]&maskBit != 0 {
		size += keySize
	}
	return size
}

func (s *Scanner) beginFrame() {
	b := s.head[:s.headLen]
	s.headLen, s.offset = 0, 0
	s.opcode, s.masked = b[0]&opcodeBits, b[1]&maskBit != 0
	s.left = uint64(b[1] &^ maskBit)
	switch lengthSize(s.left) {
	case 2:
		s.left = uint64(binary.BigEndian.Uint16(b[2:]))
	case 8:
		s.left = binary.BigEndian.Uint64(b[2:])
	}
	if b[0]&reservedBits != 0 {
		s.err = ErrExtension
	}
	switch isControl := s.opcode >= websocket.CloseMessage; {
	case isControl && s.left > maxControlPayload, s.opcode > websocket.BinaryMessage && !isControl, s.opcode > websocket.PongMessage,
		s.opcode == continuationFrame && s.kind == 0:
		s.err, s.left = errFrame, 0
		return
	case !isControl && s.opcode != continuationFrame:
		s.kind = int(s.opcode)
	}
	if s.masked {
		s.mask.set(b[len(b)-keySize:], s.left)
	}
	if s.left == 0 {
		s.endFrame()
	}
}

// payload handles p, a part of the current frame's payload.
func (s *Scanner) payload(p []byte) {
	isControl := s.opcode >= websocket.CloseMessage
	for len(p) > 0 && (isControl || s.err == nil && s.Data != nil) {
		part := p
		if s.masked {
			if s.scratch == nil {
				s.scratch = make([]byte, scratchSize)
			}
			part = s.scratch[:min(len(p), len(s.scratch))]
			s.mask.xor(part, p[:len(part)], s.offset)
			s.offset += len(part)
		}
		p = p[len(part):]
		if isControl {
			s.control = append(s.control, part...)
		} else {
			s.Data(s.kind, part)
		}
	}
}

func (s *Scanner) endFrame() {
	if s.opcode >= websocket.CloseMessage {
		if s.Control != nil {
			s.Control(int(s.opcode), s.control)
		}
		s.control = s.control[:0]
	}
}
