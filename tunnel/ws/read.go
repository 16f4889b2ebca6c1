package ws

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

// errText is the read error after a text message.
var errText = errors.New("ws: peer sent a text message, want binary")

// Read returns bytes as they arrive; it doesn't wait for the end of a message. Its
// errors are final:
//
//   - [net.ErrClosed] after CloseWith;
//   - an [*EndError] when the peer or the network has ended the connection;
//   - [os.ErrDeadlineExceeded] when the caller's read deadline has passed;
//   - the error of a failed WriteFrame, unless the peer sent a Close frame.
func (c *Conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for c.readErr == nil {
		if c.message == nil {
			kind, r, err := c.next()
			if err != nil {
				return 0, c.endRead(err)
			}
			if kind != websocket.BinaryMessage {
				c.refuseText()
				return 0, c.endRead(errText)
			}
			c.received.Add(1)
			c.message = r
		}
		n, err := c.readMessage(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
	return 0, c.readErr
}

// readMessage reads from the current message. On TLS, whose Read returns one record
// at a time, it continues while further records are buffered.
func (c *Conn) readMessage(p []byte) (n int, err error) {
	for {
		k, err := c.message.Read(p[n:])
		n += k
		switch {
		case err == io.EOF: //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
			c.message = nil
		case err != nil:
			if err = c.endRead(err); n > 0 {
				err = nil // the next Read returns it
			}
			return n, err
		}
		if n > 0 {
			c.recordReceived()
		}
		if c.message == nil || n == len(p) || !c.records.hasBuffered() {
			return n, nil
		}
	}
}

// endRead makes err the final read error and returns it as Read does. Read must not
// call gorilla again: that panics after 1000 reads of a failed connection.
func (c *Conn) endRead(err error) error {
	c.readErr = c.readError(err)
	if failure := c.failure.Load(); failure != nil {
		err = *failure
	}
	c.recordEnd(err)
	return c.readErr
}

// recordEnd sets c.end, once, unless this side is closing the connection.
func (c *Conn) recordEnd(err error) {
	if !c.isClosing() {
		c.endOnce.Do(func() {
			c.end = err
			close(c.ended)
		})
	}
}

// End returns why the peer or the network ended the connection: a
// [*websocket.CloseError] with the peer's status code, or a read or write error. It
// returns nil while the connection is up, and if this side closed it first.
func (c *Conn) End() error {
	select {
	case <-c.ended:
		return c.end
	default:
		return nil
	}
}

// readError converts gorilla's error to one that Read documents.
func (c *Conn) readError(err error) error {
	if c.isClosing() || errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	if failure := c.failure.Load(); failure != nil {
		return *failure
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || c.shared && isTimeout(err) {
		return os.ErrDeadlineExceeded
	}
	status, ok := errors.AsType[*websocket.CloseError](err)
	if !ok { // 1006: no Close frame arrived (RFC 6455 §7.1.5)
		status = &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: err.Error()}
	}
	return &EndError{Status: status, Cause: err}
}

// isTimeout reports whether err is a timeout. gorilla's errors don't say whether a
// deadline passed, or the kernel gave up on a silent peer.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// isNormalClosure reports whether err is a CloseError with status code 1000 or 1001.
func isNormalClosure(err error) bool {
	return websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway)
}

// EndError means that the peer or the network ended the connection. It matches
// [io.EOF] after a normal closure, and [io.ErrUnexpectedEOF] otherwise.
type EndError struct {
	// Status has the status code and reason of the Close frame, or 1006 if none
	// arrived (RFC 6455 §7.1.5).
	Status *websocket.CloseError

	// Cause is Status, or a network error.
	Cause error
}

func (e *EndError) Error() string { return e.Cause.Error() }

// Is reports whether target is io.EOF or io.ErrUnexpectedEOF, whichever applies.
func (e *EndError) Is(target error) bool {
	if isNormalClosure(e.Status) {
		return target == io.EOF
	}
	return target == io.ErrUnexpectedEOF
}

// Unwrap returns the cause and the status.
func (e *EndError) Unwrap() []error { return []error{e.Cause, e.Status} }

// refuseText sends a Close frame that refuses a text message (RFC 6455 §7.4.1).
func (c *Conn) refuseText() { c.sendErrorClose(websocket.CloseUnsupportedData, "binary messages only") }

// sendErrorClose sends a Close frame that reports an error in the peer's frames.
func (c *Conn) sendErrorClose(code int, text string) {
	deadline := time.Now().Add(CloseWait)
	if c.acquireWriter(deadline) != nil {
		return
	}
	defer c.releaseWriter()
	_ = c.writeClose(code, text, deadline)
}

// wakeReaderIfFailed makes a pending Read return if a write has failed. It runs after
// the caller's handlers, which may have moved the read deadline that fail had set.
func (c *Conn) wakeReaderIfFailed() {
	if c.failure.Load() != nil {
		_ = c.conn.SetReadDeadline(aLongTimeAgo)
	}
}

// fail makes Read return the write error err. It first waits up to CloseWait for Read
// to end by itself: the peer's Close frame may still be unread, and explains more
// than err.
func (c *Conn) fail(err error) {
	timer := time.NewTimer(CloseWait)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-c.closing:
	case <-timer.C:
		c.failure.CompareAndSwap(nil, &err)
		_ = c.conn.SetReadDeadline(aLongTimeAgo)
	}
}
