package ws

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// frameReader reads the messages of a dialing side (RFC 6455 §5) from the socket,
// because gorilla takes several times as long to unmask them. It passes control
// frames to the handlers of the websocket.Conn.
type frameReader struct {
	c      *Conn
	in     *bufio.Reader
	head   [maxFrameHeader]byte
	mask   mask
	offset int    // position in the payload of the current data frame
	left   uint64 // unread bytes of that payload
	last   bool   // the current data frame is the last of its message
}

// newFrameReader returns a reader for c, which is the accepting side. Nothing may have
// been read from c before.
func newFrameReader(c *Conn) *frameReader {
	return &frameReader{c: c, in: bufio.NewReader(c.conn)}
}

// nextMessage is like gorilla's NextReader, except that the caller must have read the
// previous message completely.
func (r *frameReader) nextMessage() (kind int, message io.Reader, err error) {
	opcode, err := r.nextDataFrame()
	switch {
	case err != nil:
		return 0, nil, err
	case opcode == continuationFrame:
		return 0, nil, r.protocolError("continuation of no message")
	}
	return int(opcode), r, nil
}

// Read reads the current message. It returns io.EOF at the end of the message.
func (r *frameReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.last {
			return 0, io.EOF
		}
		opcode, err := r.nextDataFrame()
		switch {
		case err != nil:
			return 0, err
		case opcode != continuationFrame:
			return 0, r.protocolError("a message within a message")
		}
	}
	n, err := r.in.Read(p[:min(uint64(len(p)), r.left)])
	r.mask.xor(p[:n], p[:n], r.offset)
	r.offset += n
	r.left -= uint64(n) //nolint:gosec // not negative
	if n > 0 {
		return n, nil
	}
	return 0, abnormalClosure(err)
}

// nextDataFrame reads the header of the next data frame and returns its opcode. It
// handles control frames on the way.
func (r *frameReader) nextDataFrame() (opcode byte, err error) {
	for {
		h, err := r.nextHeader()
		if err != nil {
			return 0, err
		}
		if h.opcode < websocket.CloseMessage {
			r.offset, r.left, r.last = 0, h.length, h.final
			return h.opcode, nil
		}
		if err := r.handleControl(h); err != nil {
			return 0, err
		}
	}
}

type frameHeader struct {
	opcode byte
	final  bool
	length uint64
}

// nextHeader reads and checks the header of the next frame, and sets the mask.
func (r *frameReader) nextHeader() (h frameHeader, err error) {
	b := r.head[:]
	if _, err := io.ReadFull(r.in, b[:2]); err != nil {
		return h, abnormalClosure(err)
	}
	h = frameHeader{opcode: b[0] & opcodeBits, final: b[0]&finalBit != 0, length: uint64(b[1] &^ maskBit)}
	control := h.opcode >= websocket.CloseMessage
	switch {
	case b[0]&reservedBits != 0:
		return h, r.protocolError("reserved bits are set")
	case h.opcode > websocket.BinaryMessage && !control, h.opcode > websocket.PongMessage:
		return h, r.protocolError("unknown opcode")
	case control && (!h.final || h.length > maxControlPayload):
		return h, r.protocolError("a control frame that is fragmented or too long")
	case b[1]&maskBit == 0:
		return h, r.protocolError("not masked")
	}
	key := b[2 : 2+lengthSize(h.length)+keySize]
	if _, err := io.ReadFull(r.in, key); err != nil {
		return h, abnormalClosure(err)
	}
	minimum := uint64(0) // of the lengths that need this many bytes (RFC 6455 §5.2)
	switch len(key) - keySize {
	case 2:
		h.length, minimum = uint64(binary.BigEndian.Uint16(key)), 126
	case 8:
		h.length, minimum = binary.BigEndian.Uint64(key), 1<<16
	}
	switch {
	case h.length > math.MaxInt64:
		return h, r.protocolError("too long a frame")
	case h.length < minimum:
		return h, r.protocolError("a payload length in more bytes than it needs")
	}
	r.mask.set(key[len(key)-keySize:], h.length)
	return h, nil
}

// lengthSize returns the size of the extended payload length, which depends on the
// seven-bit payload length (RFC 6455 §5.2).
func lengthSize(payloadLen uint64) int {
	switch payloadLen {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// handleControl reads the payload of a control frame and calls its handler. For a
// Close frame it returns a *websocket.CloseError.
func (r *frameReader) handleControl(h frameHeader) error {
	var b [maxControlPayload]byte
	p := b[:h.length]
	if _, err := io.ReadFull(r.in, p); err != nil {
		return abnormalClosure(err)
	}
	r.mask.xor(p, p, 0)
	switch h.opcode {
	case websocket.PingMessage:
		return r.c.ws.PingHandler()(string(p))
	case websocket.PongMessage:
		return r.c.ws.PongHandler()(string(p))
	}
	end := &websocket.CloseError{Code: websocket.CloseNoStatusReceived}
	switch len(p) {
	case 0:
	case 1: // half a status code (RFC 6455 §5.5.1)
		return r.protocolError("a Close frame of one byte")
	default:
		code, text := binary.BigEndian.Uint16(p), p[2:]
		if !IsStatusCode(int(code)) || !utf8.Valid(text) {
			return r.protocolError("a Close frame with a wrong status code or reason")
		}
		end.Code, end.Text = int(code), string(text)
	}
	if err := r.c.ws.CloseHandler()(end.Code, end.Text); err != nil {
		return err
	}
	return end
}

// IsStatusCode reports whether a Close frame may have this status code, according to
// RFC 6455 §7.4 and the IANA registry.
func IsStatusCode(code int) bool {
	switch {
	case code >= 3000 && code < 5000:
		return true
	case code == websocket.CloseNoStatusReceived, code == websocket.CloseAbnormalClosure:
		return false
	}
	return code >= websocket.CloseNormalClosure && code <= websocket.CloseTryAgainLater && code != 1004
}

// protocolError sends a Close frame with status code 1002 and text, and returns text
// as an error.
func (r *frameReader) protocolError(text string) error {
	r.c.sendErrorClose(websocket.CloseProtocolError, text)
	return errors.New("websocket: " + text)
}

// abnormalClosure converts io.EOF to gorilla's error for a connection that ended
// without a Close frame. It returns other errors unchanged.
func abnormalClosure(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: io.ErrUnexpectedEOF.Error()}
	}
	return err
}
