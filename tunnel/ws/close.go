package ws

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// closeFrameWait bounds how long CloseWith tries to send the Close frame,
	// including the wait for a message that is being sent.
	closeFrameWait = 200 * time.Millisecond

	// lingerWait bounds how long the socket stays open after the Close frame for
	// the peer to answer. The kernel sends RST for a socket that is closed with
	// unread bytes, and that can destroy the last data in flight.
	lingerWait = 500 * time.Millisecond

	// maxControlPayload is the largest payload of a control frame (RFC 6455
	// §5.5); maxReason is what a Close frame has room for after the status code.
	maxControlPayload = 125
	maxReason         = maxControlPayload - 2
)

// CloseWait is the longest time that CloseWith blocks.
const CloseWait = closeFrameWait

// CloseWith makes Read and Write return, sends the queue and a Close frame,
// unless a stuck write is in the way, and closes the socket in the background
// once the peer has answered, half a second later at most. reason is cut to the
// 123 bytes that a Close frame has room for. It blocks for 200 ms at most. Only
// the first call has an effect.
func (c *Conn) CloseWith(code int, reason string) {
	c.closeOnce.Do(func() {
		close(c.closing)
		_ = c.conn.SetReadDeadline(longAgo)
		err := c.sendClose(code, reason, time.Now().Add(closeFrameWait))
		_ = c.conn.SetWriteDeadline(longAgo)
		go c.linger(err == nil)
	})
}

// Done returns a channel that is closed when the socket has been closed by
// CloseWith.
func (c *Conn) Done() <-chan struct{} { return c.done }

// CloseStatus returns the Close frame that ended the connection: the peer's, or
// else the one that this side sent first; nil if there was none.
func (c *Conn) CloseStatus() *websocket.CloseError {
	if status, ok := errors.AsType[*websocket.CloseError](c.End()); ok {
		return status
	}
	return c.closeSent.Load()
}

// sendClose sends the queue, and a Close frame.
func (c *Conn) sendClose(code int, reason string, deadline time.Time) error {
	if err := c.takeTurn(deadline); err != nil {
		return err
	}
	defer c.endTurn()
	if queued := c.queue.take(); len(queued) > 0 && c.writeErr == nil && !c.peerClosed.Load() {
		c.setWriteDeadline(deadline)
		if err := c.writeMessage(queued, nil); err != nil {
			return err
		}
	}
	return c.writeClose(code, reason, deadline)
}

// writeClose sends a Close frame. The caller holds the token of writing.
func (c *Conn) writeClose(code int, reason string, deadline time.Time) error {
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "") // as §8.1 requires
	err := c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
	if err == nil {
		c.closeSent.CompareAndSwap(nil, &websocket.CloseError{Code: code, Text: reason})
	}
	return err
}

// linger reads what the peer still sends, then closes the socket.
func (c *Conn) linger(closeSent bool) {
	defer close(c.done)
	socket := c.conn
	if tc, ok := c.conn.(*tls.Conn); ok {
		socket = tc.NetConn() // TLS itself would try to send its alert for five seconds
	}
	// A handler of the caller's may just move the read deadline, so the reader
	// may not leave by itself.
	timer := time.AfterFunc(lingerWait, func() { _ = socket.Close() })
	defer timer.Stop()
	c.readMu.Lock() // the reader has been woken and is leaving
	defer c.readMu.Unlock()
	answered := c.readErr != nil && !errors.Is(c.readErr, net.ErrClosed)
	if closeSent && !answered {
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerWait))
		_, err := io.Copy(io.Discard, c.conn)
		answered = err == nil
	}
	if answered {
		_ = c.conn.Close()
	}
	_ = socket.Close()
}

func (c *Conn) isClosing() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}
