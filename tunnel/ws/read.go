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

// Read reads bytes as they arrive, not when their message is complete. Its error
// is final:
//
//   - [net.ErrClosed] after CloseWith;
//   - an [*EndError] when the peer or the network has ended the connection;
//   - [os.ErrDeadlineExceeded] when a read deadline of the caller's has passed;
//   - the write error after WriteFrame has failed, unless the peer's Close frame
//     explains it.
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

// readMessage reads from the current message, and goes on as long as TLS has more
// at hand: it delivers one record at a time.
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
			c.noteReceived()
		}
		if c.message == nil || n == len(p) || !c.records.readable() {
			return n, nil
		}
	}
}

// endRead records err, which reading never gets past: gorilla panics when a
// failed connection is read again and again.
func (c *Conn) endRead(err error) error {
	c.readErr = c.readError(err)
	if failure := c.failure.Load(); failure != nil {
		err = *failure
	}
	c.noteEnd(err)
	return c.readErr
}

// noteEnd records why reading ended, unless this side closed the connection.
func (c *Conn) noteEnd(err error) {
	if !c.isClosing() {
		c.endOnce.Do(func() {
			c.end = err
			close(c.endKnown)
		})
	}
}

// End returns why reading ended, in gorilla's own terms: a [*websocket.CloseError]
// with the peer's status code, or an error of the network, also of writing. It
// returns nil while reading goes on, and if this side closed the connection first.
func (c *Conn) End() error {
	select {
	case <-c.endKnown:
		return c.end
	default:
		return nil
	}
}

// readError puts an error of gorilla's into the terms of net and io.
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
	if !ok { // no Close frame arrived, which 1006 stands for: RFC 6455 §7.1.5
		status = &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: err.Error()}
	}
	return &EndError{Status: status, Cause: err}
}

// isTimeout reports whether err is a time-out. gorilla hides which one: a
// deadline, or the kernel, which has given up on a silent peer.
func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// IsNormalClosure reports whether err says that the peer closed the WebSocket in
// order.
func IsNormalClosure(err error) bool {
	return websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway)
}

// EndError is how the peer or the network ended the connection. It is [io.EOF]
// after a normal closure, and [io.ErrUnexpectedEOF] otherwise.
type EndError struct {
	// Status has the status code and reason of the Close frame, or 1006 if none
	// arrived (RFC 6455 §7.1.5).
	Status *websocket.CloseError

	// Cause is Status, or the error of the network.
	Cause error
}

func (e *EndError) Error() string { return e.Cause.Error() }

// Is reports whether target is io.EOF or io.ErrUnexpectedEOF, whichever applies.
func (e *EndError) Is(target error) bool {
	if IsNormalClosure(e.Status) {
		return target == io.EOF
	}
	return target == io.ErrUnexpectedEOF
}

// Unwrap returns the cause and the status.
func (e *EndError) Unwrap() []error { return []error{e.Cause, e.Status} }

// refuseText tells the peer that only binary messages are understood here.
func (c *Conn) refuseText() { c.complain(websocket.CloseUnsupportedData, "binary messages only") }

// complain sends a Close frame that says what is wrong with the peer's messages.
func (c *Conn) complain(code int, text string) {
	deadline := time.Now().Add(closeFrameWait)
	if c.takeTurn(deadline) != nil {
		return
	}
	defer c.endTurn()
	_ = c.writeClose(code, text, deadline)
}

// keepFailed ends reading again after a handler of the caller's, which may have
// moved the read deadline, if writing has failed.
func (c *Conn) keepFailed() {
	if c.failure.Load() != nil {
		_ = c.conn.SetReadDeadline(longAgo)
	}
}

// fail makes Read return err, with which writing failed, unless reading ends by
// itself within a moment: the peer's Close frame may not have been read yet, and
// says more.
func (c *Conn) fail(err error) {
	timer := time.NewTimer(closeFrameWait)
	defer timer.Stop()
	select {
	case <-c.endKnown:
	case <-c.closing:
	case <-timer.C:
		c.failure.CompareAndSwap(nil, &err)
		_ = c.conn.SetReadDeadline(longAgo)
	}
}
