package wsmux

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
	// closeFrameWait bounds how long Close tries to send the Close frame,
	// which includes waiting for a message that is just being written.
	closeFrameWait = 200 * time.Millisecond

	// lingerWait bounds how long the socket stays open after the Close frame
	// for the peer to answer. Closing a socket with unread bytes in it makes
	// the kernel send RST, and that can destroy the last data on its way.
	lingerWait = 500 * time.Millisecond

	// maxControlPayload is the most that a control frame carries (RFC 6455 §5.5),
	// maxReason what a Close frame has room for beside the status code.
	maxControlPayload = 125
	maxReason         = maxControlPayload - 2
)

// Close closes with status code 1000; see closeWith.
func (t *transport) Close() error {
	t.closeWith(websocket.CloseNormalClosure, "")
	return nil
}

// closeWith makes Read and Write return, sends a Close frame unless a stuck
// writer is in the way, and closes the socket once the peer has answered, in
// the background and bounded by lingerWait. Only the first call acts.
func (t *transport) closeWith(code int, reason string) {
	t.closeOnce.Do(func() {
		reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "") // as §8.1 wants it
		close(t.closing)
		conn := t.ws.NetConn()
		_ = conn.SetReadDeadline(longAgo)
		err := t.sendClose(websocket.FormatCloseMessage(code, reason), time.Now().Add(closeFrameWait))
		_ = conn.SetWriteDeadline(longAgo)
		go t.linger(conn, err == nil)
	})
}

// sendClose sends what is held, and a Close frame.
func (t *transport) sendClose(message []byte, deadline time.Time) error {
	if err := t.beginControl(deadline); err != nil {
		return err
	}
	defer t.endControl()
	if held := t.burst.take(false); len(held) > 0 && t.writeErr == nil && !t.peerClosed.Load() {
		_ = t.frames.conn.SetWriteDeadline(deadline)
		if err := t.frames.writeMessage(held, nil); err != nil {
			return err
		}
	}
	return t.ws.WriteControl(websocket.CloseMessage, message, deadline)
}

// linger reads what the peer still sends, then closes the socket.
func (t *transport) linger(conn net.Conn, closeSent bool) {
	defer close(t.done)
	socket := conn
	if tc, ok := conn.(*tls.Conn); ok {
		socket = tc.NetConn() // TLS itself would try for five seconds to say goodbye
	}
	// A handler of the caller's may move the read deadline just now, so the
	// reader isn't sure to leave.
	timer := time.AfterFunc(lingerWait, func() { _ = socket.Close() })
	defer timer.Stop()
	t.rmu.Lock() // the reader has been woken and is leaving
	defer t.rmu.Unlock()
	answered := t.readErr != nil && !errors.Is(t.readErr, net.ErrClosed)
	if closeSent && !answered {
		_ = conn.SetReadDeadline(time.Now().Add(lingerWait))
		_, err := io.Copy(io.Discard, conn)
		answered = err == nil
	}
	if answered {
		_ = conn.Close()
	}
	_ = socket.Close()
}

func (t *transport) isClosing() bool {
	select {
	case <-t.closing:
		return true
	default:
		return false
	}
}

// awaitEnd gives the reader a moment to find out why the connection ended. A
// Close frame may still wait to be read when writing fails already.
func (t *transport) awaitEnd() {
	timer := time.NewTimer(closeFrameWait)
	defer timer.Stop()
	select {
	case <-t.endNoted:
	case <-t.closing:
	case <-timer.C:
	}
}

// end returns the error that reading ended with, in gorilla's own terms; nil
// while reading goes on and after a Close from this side.
func (t *transport) end() error {
	if e := t.ended.Load(); e != nil {
		return e.err
	}
	return nil
}
