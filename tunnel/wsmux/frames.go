package wsmux

import (
	"crypto/rand"
	"crypto/subtle"
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
	maxFrameHeader = 2 + 8 + 4

	finalBit = 0x80
	maskBit  = 0x80
)

// frameWriter sends binary messages (RFC 6455 §5.6) on a WebSocket's socket,
// past gorilla, whose writer copies each message, goes over it once more to
// mask it, and allocates. It's for connections on which nobody else writes.
type frameWriter struct {
	conn   net.Conn
	batch  *batchConn // below TLS; may be nil
	mask   bool       // this side has dialed: RFC 6455 §5.3
	gather bool       // conn takes several slices in one system call

	header [maxFrameHeader]byte
	slices [3][]byte
	gone   net.Buffers // what is left to send of slices
}

func newFrameWriter(ws *websocket.Conn) *frameWriter {
	w := &frameWriter{conn: ws.NetConn(), batch: batchBelow(ws.NetConn()), mask: !isAccepting(ws)}
	_ = w.conn.SetWriteDeadline(time.Time{}) // what the handshake may have left
	switch w.conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.gather = !w.mask
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
	return errors.Join(w.writeFrames(a, b), w.batch.end())
}

func (w *frameWriter) writeFrames(a, b []byte) error {
	if w.gather {
		w.slices = [3][]byte{appendFrameHeader(w.header[:0], websocket.BinaryMessage, true, len(a)+len(b)), a, b}
		w.gone = w.slices[:]
		_, err := w.gone.WriteTo(w.conn)
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
		if w.mask {
			buf = appendMasked(buf, a[:fromA], b[:n-fromA])
		} else {
			buf = append(append(buf, a[:fromA]...), b[:n-fromA]...)
		}
		if _, err := w.conn.Write(buf); err != nil || rest == 0 {
			return err
		}
		a, b = a[fromA:], b[n-fromA:]
		opcode = continuationFrame
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
func appendMasked(frame, a, b []byte) []byte {
	frame[1] |= maskBit
	start := len(frame) + 4
	end := start + len(a) + len(b)
	out := frame[:end]
	key := out[start-4 : start]
	_, _ = rand.Read(key) // never fails
	var pattern [512 + 4]byte
	fill := min(len(pattern), len(a)+len(b)+4)
	for n := copy(pattern[:], key); n < fill; n *= 2 {
		copy(pattern[n:fill], pattern[:n])
	}
	at := start
	for _, p := range [2][]byte{a, b} {
		k := pattern[(at-start)%4:][:len(pattern)-4]
		for len(p) > 0 {
			n := subtle.XORBytes(out[at:], p, k)
			at += n
			p = p[n:]
		}
	}
	return out
}
