package wsmux

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// mostData is the most that is sent of a stream at a time, in bytes, before
	// others have their turn.
	mostData = 256 * 1024

	// framePayload is the most that a frame carries which has to be copied to
	// be sent, in bytes.
	framePayload = yamuxHeaderSize + mostData

	// maxFrameHeader is a first byte, a length, 8 bytes of it, and a masking
	// key: RFC 6455 §5.2.
	maxFrameHeader = 2 + 8 + keyBytes

	finalBit     = 0x80
	reservedBits = 0x70
	opcodeBits   = 0x0f
	maskBit      = 0x80
)

// frameWriter sends binary messages (RFC 6455 §5.6) on a WebSocket's socket,
// past gorilla, whose writer copies each message, goes over it once more to
// mask it, and allocates. It's for connections on which nobody else writes.
type frameWriter struct {
	conn   net.Conn
	batch  *batchConn  // below TLS; may be nil
	mask   *mask       // for a side that has dialed (RFC 6455 §5.3), or nil
	gather bool        // conn takes several slices in one system call
	renew  func() bool // see whileMoving

	header [maxFrameHeader]byte
	slices [3][]byte
	gone   net.Buffers // what is left to send of slices
}

// newFrameWriter returns a writer on ws. renew sets the deadline of its socket, and
// reports whether to go on.
func newFrameWriter(ws *websocket.Conn, renew func() bool) *frameWriter {
	w := &frameWriter{conn: ws.NetConn(), batch: batchBelow(ws.NetConn()), renew: renew}
	if !isAccepting(ws) {
		w.mask = new(mask)
	}
	_ = w.conn.SetWriteDeadline(time.Time{}) // what the handshake may have left
	switch w.conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.gather = w.mask == nil
	}
	return w
}

// isAccepting reports whether ws comes from an Upgrader. gorilla doesn't tell.
func isAccepting(ws *websocket.Conn) bool {
	return reflect.ValueOf(ws).Elem().FieldByName("isServer").Bool()
}

// writeMessage sends a and b, of which either may be empty, as one message.
func (w *frameWriter) writeMessage(a, b []byte) error {
	if w.batch == nil {
		return w.writeFrames(a, b)
	}
	w.batch.begin()
	return errors.Join(w.writeFrames(a, b), w.batch.end(w.renew))
}

func (w *frameWriter) writeFrames(a, b []byte) error {
	if w.gather {
		w.slices = [3][]byte{appendFrameHeader(w.header[:0], websocket.BinaryMessage, true, len(a)+len(b)), a, b}
		w.gone = w.slices[:]
		err := whileMoving(w.renew, func() (int64, error) { return w.gone.WriteTo(w.conn) })
		w.slices = [3][]byte{}
		return err
	}
	frame := frames.Get().(*[]byte) //nolint:errcheck // nothing else is in there
	defer frames.Put(frame)
	opcode := byte(websocket.BinaryMessage)
	for {
		n := min(len(a)+len(b), framePayload)
		fromA := min(len(a), n)
		rest := len(a) + len(b) - n
		buf := appendFrameHeader((*frame)[:0], opcode, rest == 0, n)
		if w.mask != nil {
			buf = w.appendMasked(buf, a[:fromA], b[:n-fromA])
		} else {
			buf = append(append(buf, a[:fromA]...), b[:n-fromA]...)
		}
		if err := writeAll(w.conn, buf, w.renew); err != nil || rest == 0 {
			return err
		}
		a, b = a[fromA:], b[n-fromA:]
		opcode = continuationFrame
	}
}

// writeAll writes p to conn; see whileMoving.
func writeAll(conn net.Conn, p []byte, renew func() bool) error {
	return whileMoving(renew, func() (int64, error) {
		n, err := conn.Write(p)
		p = p[n:]
		return int64(n), err
	})
}

// whileMoving calls write, which goes on with what is left and returns how much it
// has written, again when a deadline has passed in which it has written something.
// renew sets another, and reports whether to go on: a link that takes a little at a
// time is slow, and not stalled.
func whileMoving(renew func() bool, write func() (int64, error)) error {
	for {
		n, err := write()
		if err == nil || n == 0 || !isDeadline(err) || !renew() {
			return err
		}
	}
}

const continuationFrame = 0

var frames = sync.Pool{New: func() any {
	b := make([]byte, 0, maxFrameHeader+framePayload)
	return &b
}}

// appendFrameHeader appends the header of a frame, up to its length.
func appendFrameHeader(buf []byte, opcode byte, final bool, length int) []byte {
	if final {
		opcode |= finalBit
	}
	switch {
	case length < 126:
		return append(buf, opcode, byte(length)) //nolint:gosec // less than 126
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(buf, opcode, 126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(buf, opcode, 127), uint64(length))
	}
}

// appendMasked appends a masking key and, masked with it, a and b to the header
// of a frame, and sets the header's bit for that.
func (w *frameWriter) appendMasked(frame, a, b []byte) []byte {
	frame[1] |= maskBit
	start := len(frame) + keyBytes
	out := frame[:start+len(a)+len(b)]
	key := out[start-keyBytes : start]
	_, _ = rand.Read(key) // never fails
	w.mask.set(key, uint64(len(a)+len(b)))
	w.mask.xor(out[start:], a, 0)
	w.mask.xor(out[start+len(a):], b, len(a))
	return out
}
