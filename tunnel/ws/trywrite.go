package ws

import (
	"bytes"
	"math"

	"github.com/gorilla/websocket"
)

// TryWriteFrame is like WriteFrame, except that it never blocks. It returns false, and sends
// nothing, if another write is running, and on connections that have no such write: the
// dialing side, TLS, and those with MaxMessage. It copies the part of a frame that the socket
// doesn't take at once, so frames should be short.
func (c *Conn) TryWriteFrame(header, body []byte) bool {
	if c.frames == nil || c.frames.try == nil || c.maxMessage < math.MaxInt {
		return false
	}
	select {
	case c.writing <- struct{}{}:
	default:
		return false
	}
	if c.beginWrite() != nil { // WriteFrame returns the error, too
		c.releaseWriter()
		return false
	}
	if queued := c.queue.take(); len(queued) > 0 {
		header = append(queued, header...)
	}
	unsent, err := c.frames.tryWriteMessage(header, body)
	if len(unsent) > 0 {
		go c.finishWrite(unsent, err)
		return true
	}
	c.recordMessage()
	c.releaseWriter()
	return true
}

// tryWriteMessage sends the part of a message that doesn't block, and returns the rest.
func (w *frameWriter) tryWriteMessage(a, b []byte) (unsent []byte, err error) {
	buffer := frameBuffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
	defer frameBuffers.Put(buffer)
	frame := appendFrameHeader((*buffer)[:0], websocket.BinaryMessage, true, len(a)+len(b))
	frame = append(append(frame, a...), b...)
	n, err := w.try.TryWrite(frame)
	return bytes.Clone(frame[n:]), err
}

// finishWrite sends the rest of a message, unless err says that writing has failed. It
// releases the token of writing, which TryWriteFrame took.
func (c *Conn) finishWrite(unsent []byte, err error) {
	if err == nil {
		err = writeAll(c.conn, unsent, c.renewWriteDeadline)
	}
	if err == nil {
		c.recordMessage()
		c.releaseWriter()
		return
	}
	err = c.writeError(err)
	c.writeErr = err
	c.releaseWriter()
	c.fail(err)
}
