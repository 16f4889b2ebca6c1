package ws

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

// Write sends p as one message, or as several if it exceeds MaxMessage. It blocks until p is in the socket's buffer. An error
// is final for writing; Read still works.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.flushAndWrite(p, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteFrame sends header and body, either of which may be empty, in one message, or in
// several if they exceed MaxMessage. It blocks until they are in the socket's buffer, unless it queues them to be sent with
// other small frames: a later call may then return the error. An error is final, and
// Read returns it, too.
func (c *Conn) WriteFrame(header, body []byte) error {
	added, start := c.queue.tryAdd(header, body)
	if start {
		go c.flush()
	}
	if added {
		return nil
	}
	err := c.flushAndWrite(header, body)
	if err != nil {
		c.fail(err)
	}
	return err
}

// QueueFrame copies header and sends it soon. It never blocks.
func (c *Conn) QueueFrame(header []byte) {
	if c.queue.add(header) {
		go c.flush()
	}
}

// Queued returns how many bytes are queued.
func (c *Conn) Queued() int { return c.queue.size() }

// flushAndWrite sends the queue, a and b as one message.
func (c *Conn) flushAndWrite(a, b []byte) error {
	c.writing <- struct{}{}
	defer c.releaseWriter()
	if err := c.beginWrite(); err != nil {
		return err
	}
	if queued := c.queue.take(); len(queued) > 0 {
		a = append(queued, a...)
	}
	if len(a)+len(b) == 0 {
		return nil
	}
	return c.writeMessage(a, b)
}

// beginWrite renews the write deadline, or returns why writing has ended. Call it
// before queue.take: after it fails, the queue is left to sendClose. The caller holds
// the token of writing.
func (c *Conn) beginWrite() error {
	switch {
	case c.writeErr != nil:
		return c.writeErr
	case c.peerClosed.Load():
		return fmt.Errorf("ws: write: closed by the peer: %w", net.ErrClosed)
	case !c.renewWriteDeadline():
		return net.ErrClosed
	}
	return nil
}

// renewWriteDeadline sets the write deadline to writeTimeout from now. It returns false
// if the connection is closing.
func (c *Conn) renewWriteDeadline() bool {
	if c.isClosing() {
		return false
	}
	switch {
	case c.writeTimeout > 0:
		c.setWriteDeadline(time.Now().Add(c.writeTimeout))
	case !c.shared:
		c.setWriteDeadline(time.Time{}) // clears the deadline of the last control frame
	}
	return true
}

func (c *Conn) setWriteDeadline(at time.Time) {
	if c.shared {
		_ = c.ws.SetWriteDeadline(at)
	} else {
		_ = c.conn.SetWriteDeadline(at)
	}
}

// writeMessage sends a and b as one message, or as several of maxMessage bytes. The
// caller has called beginWrite.
func (c *Conn) writeMessage(a, b []byte) error {
	for {
		fromA := min(len(a), c.maxMessage)
		fromB := min(len(b), c.maxMessage-fromA)
		var err error
		if c.frames != nil {
			err = c.frames.writeMessage(a[:fromA], b[:fromB])
		} else {
			err = c.writeByGorilla(a[:fromA], b[:fromB])
		}
		if err != nil {
			c.writeErr = c.writeError(err)
			return c.writeErr
		}
		c.recordMessage()
		a, b = a[fromA:], b[fromB:]
		if len(a)+len(b) == 0 {
			return nil
		}
		c.renewWriteDeadline() // unless the connection is closing: CloseWith has set one
	}
}

// recordMessage records that a message was sent.
func (c *Conn) recordMessage() {
	c.queue.recordSent()
	c.recordSent()
}

func (c *Conn) writeByGorilla(a, b []byte) error {
	if len(b) == 0 {
		return c.ws.WriteMessage(websocket.BinaryMessage, a)
	}
	w, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := w.Write(a); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return w.Close()
}

func (c *Conn) writeError(err error) error {
	switch {
	case c.isClosing():
		return net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded), c.shared && isTimeout(err):
		return fmt.Errorf("the link is stalled: %w", os.ErrDeadlineExceeded)
	}
	return err
}

// acquireWriter takes the token of writing, or fails at deadline. Control frames need
// it because their deadline would also apply to a message that is being written.
func (c *Conn) acquireWriter(deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case c.writing <- struct{}{}:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

func (c *Conn) releaseWriter() { <-c.writing }

// writeControl sends a control frame, through gorilla.
func (c *Conn) writeControl(kind int, data []byte, deadline time.Time) error {
	if err := c.acquireWriter(deadline); err != nil {
		return err
	}
	defer c.releaseWriter()
	return c.ws.WriteControl(kind, data, deadline)
}
