package ws

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// maxPayload is the largest payload of a frame whose bytes have to be copied
	// to be sent.
	maxPayload = 256*1024 + 12

	// maxFrameHeader is a first byte, a length with 8 more bytes, and a masking
	// key: RFC 6455 §5.2.
	maxFrameHeader = 2 + 8 + keySize

	finalBit     = 0x80
	reservedBits = 0x70
	opcodeBits   = 0x0f
	maskBit      = 0x80

	continuationFrame = 0
)

// frameWriter sends binary messages (RFC 6455 §5.6) on the socket of a WebSocket
// on which nothing else writes messages. gorilla's writer copies each message,
// goes over it again to mask it, and allocates.
type frameWriter struct {
	conn    net.Conn
	records *recordsConn // below TLS; may be nil
	mask    *mask        // nil on the accepting side, which doesn't mask
	gather  bool         // conn takes several slices in one system call
	renew   func() bool  // see whileMoving

	header [maxFrameHeader]byte
	slices [3][]byte
	unsent net.Buffers // of slices
}

// newFrameWriter returns a writer on conn. renew moves conn's write deadline, and
// returns false if writing is over.
func newFrameWriter(conn net.Conn, records *recordsConn, side Side, renew func() bool) *frameWriter {
	w := &frameWriter{conn: conn, records: records, renew: renew}
	if side == Dialing {
		w.mask = new(mask)
	}
	_ = conn.SetWriteDeadline(time.Time{}) // the handshake may have left one
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.gather = w.mask == nil
	}
	return w
}

// writeMessage sends a and b, of which either may be empty, as one message.
func (w *frameWriter) writeMessage(a, b []byte) error {
	if w.records == nil {
		return w.writeFrames(a, b)
	}
	w.records.begin()
	return errors.Join(w.writeFrames(a, b), w.records.end(w.renew))
}

func (w *frameWriter) writeFrames(a, b []byte) error {
	if w.gather {
		w.slices = [3][]byte{appendFrameHeader(w.header[:0], websocket.BinaryMessage, true, len(a)+len(b)), a, b}
		w.unsent = w.slices[:]
		err := whileMoving(w.renew, func() (int64, error) { return w.unsent.WriteTo(w.conn) })
		w.slices = [3][]byte{}
		return err
	}
	buffer := frameBuffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
	defer frameBuffers.Put(buffer)
	opcode := byte(websocket.BinaryMessage)
	for {
		n := min(len(a)+len(b), maxPayload)
		fromA := min(len(a), n)
		left := len(a) + len(b) - n
		frame := appendFrameHeader((*buffer)[:0], opcode, left == 0, n)
		if w.mask != nil {
			frame = w.appendMasked(frame, a[:fromA], b[:n-fromA])
		} else {
			frame = append(append(frame, a[:fromA]...), b[:n-fromA]...)
		}
		if err := writeAll(w.conn, frame, w.renew); err != nil || left == 0 {
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

// whileMoving calls write, which continues where it stopped and returns how much
// it has written, again after a deadline within which it has written something.
// renew moves the deadline, and returns false if writing is over. So a link that
// takes a little at a time counts as slow and not as stalled.
func whileMoving(renew func() bool, write func() (int64, error)) error {
	for {
		n, err := write()
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !renew() {
			return err
		}
	}
}

var frameBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, maxFrameHeader+maxPayload)
	return &b
}}

// appendFrameHeader appends the header of a frame that isn't masked.
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

// appendMasked makes the header of a frame one of a masked frame, and appends the
// masking key and, masked with it, a and b.
func (w *frameWriter) appendMasked(frame, a, b []byte) []byte {
	frame[1] |= maskBit
	start := len(frame) + keySize
	out := frame[:start+len(a)+len(b)]
	key := out[start-keySize : start]
	_, _ = rand.Read(key) // never fails
	w.mask.set(key, uint64(len(a)+len(b)))
	w.mask.xor(out[start:], a, 0)
	w.mask.xor(out[start+len(a):], b, len(a))
	return out
}
