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

	"github.com/wstun/wstun/tunnel/socket"
)

const (
	// maxPayload is the largest payload of a frame that is copied to a buffer before
	// it is sent: the header and the body of mux's largest frame.
	maxPayload = 256*1024 + 12

	// maxFrameHeader is the size of the two fixed bytes, the extended payload length
	// and the masking key (RFC 6455 §5.2).
	maxFrameHeader = 2 + 8 + keySize

	finalBit     = 0x80
	reservedBits = 0x70
	opcodeBits   = 0x0f
	maskBit      = 0x80

	continuationFrame = 0
)

// frameWriter writes binary messages (RFC 6455 §5.6) to the socket of a WebSocket. No
// other code may write messages there. gorilla's writer copies each message, masks it
// in a second pass, and allocates.
type frameWriter struct {
	conn    net.Conn
	records *recordsConn   // below TLS; may be nil
	mask    *mask          // nil on the accepting side, which doesn't mask
	gather  bool           // write header and payload with writev, without a copy
	try     *socket.Writer // of the same connections, for TryWriteFrame; otherwise nil
	renew   func() bool    // see retryWhileProgress

	header [maxFrameHeader]byte
	slices [3][]byte
	unsent net.Buffers // the rest of slices
}

// newFrameWriter returns a writer on conn. renew renews conn's write deadline, and
// returns false if the connection is closing.
func newFrameWriter(conn net.Conn, records *recordsConn, side Side, renew func() bool) *frameWriter {
	w := &frameWriter{conn: conn, records: records, renew: renew}
	if side == Dialing {
		w.mask = new(mask)
	}
	_ = conn.SetWriteDeadline(time.Time{}) // the handshake may have set one
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.gather = w.mask == nil
	}
	if w.gather {
		w.try = socket.NewWriter(conn)
	}
	return w
}

// writeMessage sends a and b, either of which may be empty, as one message.
func (w *frameWriter) writeMessage(a, b []byte) error {
	if w.records == nil {
		return w.writeFrames(a, b)
	}
	w.records.beginBatch()
	return errors.Join(w.writeFrames(a, b), w.records.endBatch(w.renew))
}

func (w *frameWriter) writeFrames(a, b []byte) error {
	if w.gather {
		w.slices = [3][]byte{appendFrameHeader(w.header[:0], websocket.BinaryMessage, true, len(a)+len(b)), a, b}
		w.unsent = w.slices[:]
		err := retryWhileProgress(w.renew, func() (int64, error) { return w.unsent.WriteTo(w.conn) })
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

// writeAll writes p to conn; see retryWhileProgress.
func writeAll(conn net.Conn, p []byte, renew func() bool) error {
	return retryWhileProgress(renew, func() (int64, error) {
		n, err := conn.Write(p)
		p = p[n:]
		return int64(n), err
	})
}

// retryWhileProgress calls write until it succeeds, or fails with another error than
// a timeout, or times out without having written anything. write returns how many
// bytes it wrote, and continues there when called again. renew renews the deadline
// before that, and returns false if the connection is closing. A link that transmits
// a few bytes before each deadline is thus slow, not stalled.
func retryWhileProgress(renew func() bool, write func() (int64, error)) error {
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

// appendFrameHeader appends the header of an unmasked frame.
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

// appendMasked sets the mask bit in frame, which is a header, and appends a random
// masking key and the masked bytes of a and b.
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
