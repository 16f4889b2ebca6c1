package wsmux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// frameReader reads the messages that a dialing side sends (RFC 6455 §5), past
// gorilla, whose way of unmasking them takes several times as long. Control frames
// go to the handlers of the websocket.Conn.
type frameReader struct {
	t    *transport
	in   *bufio.Reader
	head [maxFrameHeader]byte
	mask mask
	at   int    // in the payload of the data frame that is being read
	left uint64 // of it
	last bool   // it is the last one of its message
}

// newFrameReader returns nil unless this side has accepted t's WebSocket and
// gorilla has read nothing ahead.
func newFrameReader(t *transport) *frameReader {
	if !isAccepting(t.ws) || !isFresh(t.ws) {
		return nil
	}
	return &frameReader{t: t, in: bufio.NewReader(t.ws.NetConn())}
}

// isFresh reports whether gorilla holds nothing that it has read. It doesn't tell.
func isFresh(ws *websocket.Conn) bool {
	conn := reflect.ValueOf(ws).Elem()
	buffer := conn.FieldByName("br").Elem()
	return buffer.FieldByName("r").Int() == buffer.FieldByName("w").Int() &&
		conn.FieldByName("readRemaining").Int() == 0 && conn.FieldByName("readFinal").Bool() &&
		conn.FieldByName("readErr").IsNil()
}

// NextReader is gorilla's, but that the message before must have been read whole.
func (r *frameReader) NextReader() (kind int, message io.Reader, err error) {
	opcode, err := r.nextData()
	switch {
	case err != nil:
		return 0, nil, err
	case opcode == continuationFrame:
		return 0, nil, r.violation("continuation of no message")
	}
	return int(opcode), r, nil
}

// Read reads the message, whose end is io.EOF.
func (r *frameReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.last {
			return 0, io.EOF
		}
		opcode, err := r.nextData()
		switch {
		case err != nil:
			return 0, err
		case opcode != continuationFrame:
			return 0, r.violation("a message within a message")
		}
	}
	n, err := r.in.Read(p[:min(uint64(len(p)), r.left)])
	r.mask.xor(p[:n], p[:n], r.at)
	r.at += n
	r.left -= uint64(n) //nolint:gosec // not negative
	if n > 0 {
		return n, nil
	}
	return 0, unexpectedEnd(err)
}

// nextData reads up to the payload of a data frame, and returns its opcode.
func (r *frameReader) nextData() (opcode byte, err error) {
	for {
		h, err := r.nextFrame()
		if err != nil {
			return 0, err
		}
		if h.opcode < websocket.CloseMessage {
			r.at, r.left, r.last = 0, h.length, h.final
			return h.opcode, nil
		}
		if err := r.control(h); err != nil {
			return 0, err
		}
	}
}

type frameHeader struct {
	opcode byte
	final  bool
	length uint64
}

// nextFrame reads the header of a frame, and checks it.
func (r *frameReader) nextFrame() (h frameHeader, err error) {
	b := r.head[:]
	if _, err := io.ReadFull(r.in, b[:2]); err != nil {
		return h, unexpectedEnd(err)
	}
	h = frameHeader{opcode: b[0] & opcodeBits, final: b[0]&finalBit != 0, length: uint64(b[1] &^ maskBit)}
	control := h.opcode >= websocket.CloseMessage
	switch {
	case b[0]&reservedBits != 0:
		return h, r.violation("reserved bits are set")
	case h.opcode > websocket.BinaryMessage && !control, h.opcode > websocket.PongMessage:
		return h, r.violation("unknown opcode")
	case control && (!h.final || h.length > maxControlPayload):
		return h, r.violation("a control frame that is fragmented or too long")
	case b[1]&maskBit == 0:
		return h, r.violation("not masked")
	}
	key := b[2 : 2+lengthBytes(h.length)+keyBytes]
	if _, err := io.ReadFull(r.in, key); err != nil {
		return h, unexpectedEnd(err)
	}
	switch len(key) - keyBytes {
	case 2:
		h.length = uint64(binary.BigEndian.Uint16(key))
	case 8:
		h.length = binary.BigEndian.Uint64(key)
	}
	if h.length > math.MaxInt64 {
		return h, r.violation("too long a frame")
	}
	r.mask.set(key[len(key)-keyBytes:], h.length)
	return h, nil
}

// lengthBytes is how many bytes hold the length that short stands for.
func lengthBytes(short uint64) int {
	switch short {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// control reads a control frame and hands it to its handler. The error of a Close
// frame is a *websocket.CloseError.
func (r *frameReader) control(h frameHeader) error {
	var b [maxControlPayload]byte
	p := b[:h.length]
	if _, err := io.ReadFull(r.in, p); err != nil {
		return unexpectedEnd(err)
	}
	r.mask.xor(p, p, 0)
	switch h.opcode {
	case websocket.PingMessage:
		return r.t.ws.PingHandler()(string(p))
	case websocket.PongMessage:
		return r.t.ws.PongHandler()(string(p))
	}
	end := &websocket.CloseError{Code: websocket.CloseNoStatusReceived}
	if len(p) >= 2 {
		code, text := binary.BigEndian.Uint16(p), p[2:]
		if !isStatusCode(code) || !utf8.Valid(text) {
			return r.violation("a Close frame with a wrong status code or reason")
		}
		end.Code, end.Text = int(code), string(text)
	}
	if err := r.t.ws.CloseHandler()(end.Code, end.Text); err != nil {
		return err
	}
	return end
}

// isStatusCode reports whether a Close frame may have this status code: RFC 6455
// §7.4 and the registry that it begins.
func isStatusCode(code uint16) bool {
	switch {
	case code >= 3000 && code < 5000:
		return true
	case code == websocket.CloseNoStatusReceived, code == websocket.CloseAbnormalClosure:
		return false
	}
	return code >= websocket.CloseNormalClosure && code <= websocket.CloseTryAgainLater && code != 1004
}

// violation tells the peer which rule it has broken, and returns that as an error.
func (r *frameReader) violation(what string) error {
	msg := websocket.FormatCloseMessage(websocket.CloseProtocolError, what)
	_ = r.t.control(websocket.CloseMessage, msg, time.Now().Add(closeFrameWait))
	return errors.New("websocket: " + what)
}

// unexpectedEnd is err as gorilla puts it: the connection must not end without a
// Close frame.
func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: io.ErrUnexpectedEOF.Error()}
	}
	return err
}
