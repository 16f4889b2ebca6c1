package wsmux

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

// Write sends p as one message.
func (t *transport) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := t.writePair(p, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writePair sends a and b as one message.
func (t *transport) writePair(a, b []byte) error {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	if err := t.beginWrite(); err != nil {
		return err
	}
	if held := t.burst.take(false); len(held) > 0 {
		a = append(held, a...)
	}
	return t.writeLocked(a, b)
}

// beginWrite returns why nothing may be sent any more, if so. It comes before what
// is held is taken, for that is sendClose's then. The token of writing is held.
func (t *transport) beginWrite() error {
	switch {
	case t.writeErr != nil:
		return t.writeErr
	case t.peerClosed.Load():
		return fmt.Errorf("wsmux: write: closed by the peer: %w", net.ErrClosed)
	case !t.limitWrite():
		return net.ErrClosed
	}
	return nil
}

// writeLocked sends a and b as one message, after beginWrite.
func (t *transport) writeLocked(a, b []byte) error {
	if err := t.writeMessage(a, b); err != nil {
		t.writeErr = t.writeError(err)
		return t.writeErr
	}
	t.burst.noteSent()
	return nil
}

// limitWrite bounds how long the socket may take from now on, and reports whether
// it may at all.
func (t *transport) limitWrite() bool {
	switch {
	case t.isClosing():
		return false
	case t.writeTimeout == 0:
	case t.frames != nil:
		_ = t.frames.conn.SetWriteDeadline(time.Now().Add(t.writeTimeout))
	default:
		_ = t.ws.SetWriteDeadline(time.Now().Add(t.writeTimeout))
	}
	return true
}

func (t *transport) writeMessage(a, b []byte) error {
	if t.frames != nil {
		return t.frames.writeMessage(a, b)
	}
	if len(b) == 0 {
		return t.ws.WriteMessage(websocket.BinaryMessage, a)
	}
	w, err := t.ws.NextWriter(websocket.BinaryMessage)
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

func (t *transport) writeError(err error) error {
	if t.isClosing() {
		return net.ErrClosed
	}
	if isDeadline(err) {
		return fmt.Errorf("the link is stalled: %w", os.ErrDeadlineExceeded)
	}
	return err
}

// control sends a control frame, by gorilla's hand. The message that is being
// sent goes first: the deadline would hold for it as well.
func (t *transport) control(kind int, data []byte, deadline time.Time) error {
	if err := t.beginControl(deadline); err != nil {
		return err
	}
	defer t.endControl()
	return t.ws.WriteControl(kind, data, deadline)
}

func (t *transport) beginControl(deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case t.writing <- struct{}{}:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

func (t *transport) endControl() { <-t.writing }
