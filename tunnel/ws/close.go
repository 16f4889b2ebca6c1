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
	// CloseWait is the longest time that CloseWith blocks to send the Close frame,
	// including the wait for a message that is being sent.
	CloseWait = 200 * time.Millisecond

	// lingerWait bounds how long the socket stays open for the peer's answer to the
	// Close frame. Closing a socket with unread bytes makes the kernel send an RST,
	// which can destroy the last data in flight.
	lingerWait = 500 * time.Millisecond

	// maxControlPayload is the largest payload of a control frame (RFC 6455 §5.5),
	// and maxReason the largest reason in a Close frame.
	maxControlPayload = 125
	maxReason         = maxControlPayload - 2
)

// CloseWith makes Read and Write return, sends the queue and a Close frame, and
// closes the socket in the background when the peer has answered, or after half a
// second. It sends nothing if another write is stuck. reason is truncated to 123
// bytes. CloseWith blocks for CloseWait at most. Only the first call has an effect.
func (c *Conn) CloseWith(code int, reason string) {
	c.closeOnce.Do(func() {
		close(c.closing)
		_ = c.conn.SetReadDeadline(aLongTimeAgo)
		err := c.sendClose(code, reason, time.Now().Add(CloseWait))
		_ = c.conn.SetWriteDeadline(aLongTimeAgo)
		go c.linger(err == nil)
	})
}

// Done returns a channel that is closed when CloseWith has closed the socket.
func (c *Conn) Done() <-chan struct{} { return c.done }

// sendClose sends the queue and a Close frame.
func (c *Conn) sendClose(code int, reason string, deadline time.Time) error {
	if err := c.acquireWriter(deadline); err != nil {
		return err
	}
	defer c.releaseWriter()
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
	return c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
}

// linger discards the peer's remaining bytes until it closes the connection, then
// closes the socket.
func (c *Conn) linger(closeSent bool) {
	defer close(c.done)
	socket := c.conn
	if tc := unwrap[*tls.Conn](c.conn); tc != nil {
		socket = tc.NetConn() // tls.Conn.Close may spend five seconds on sending an alert
	}
	// The read deadline that CloseWith has set makes Read return, unless a handler of
	// the caller's moves it.
	timer := time.AfterFunc(lingerWait, func() { _ = socket.Close() })
	defer timer.Stop()
	c.readMu.Lock() // waits for a pending Read to return
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
