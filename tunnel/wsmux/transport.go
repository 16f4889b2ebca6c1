package wsmux

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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

	// pongWait bounds the sending of a Pong. gorilla's own handler allows
	// one second, after which a full socket costs the whole connection.
	pongWait = 60 * time.Second
)

// errText is what reading ends with when the peer sends a text message.
var errText = errors.New("wsmux: peer sent a text message, want binary")

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// transport is a byte stream over the binary messages of a WebSocket. It is
// what yamux runs on: no deadlines, no goroutines, no copies. Read and Write
// run in the caller's goroutine, straight on gorilla's connection.
type transport struct {
	ws *websocket.Conn

	// received grows with everything that arrives, so that a keepalive can
	// tell a live peer from a silent one without touching the clock here.
	received atomic.Uint64

	rmu     sync.Mutex // held while reading
	message io.Reader  // rest of the current message; nil between messages
	readErr error      // first read error, which is final

	wmu sync.Mutex // held while writing a message

	pongMu  sync.Mutex
	pong    *string // newest Ping still to be answered
	ponging bool    // whether a goroutine is answering

	closeOnce sync.Once
	closing   chan struct{} // closed when Close begins
	done      chan struct{} // closed when the socket is
	ended     atomic.Pointer[endError]
}

// endError is why reading ended: one pointer, so that it can be stored
// atomically whatever the error's type.
type endError struct{ err error }

func newTransport(ws *websocket.Conn) *transport {
	t := &transport{ws: ws, closing: make(chan struct{}), done: make(chan struct{})}
	if isDefaultHandler(ws.PingHandler()) {
		ws.SetPingHandler(t.handlePing)
	}
	onPong := ws.PongHandler()
	ws.SetPongHandler(func(data string) error {
		t.received.Add(1)
		return onPong(data)
	})
	return t
}

// isDefaultHandler reports whether h is gorilla's own handler and not one that
// the caller has set.
func isDefaultHandler(h func(string) error) bool {
	f := runtime.FuncForPC(reflect.ValueOf(h).Pointer())
	return f != nil && strings.HasPrefix(f.Name(), "github.com/gorilla/websocket.")
}

// Read reads from the current message, or waits for the next one that isn't
// empty. Bytes come out as they arrive, not when their message is complete.
func (t *transport) Read(p []byte) (int, error) {
	t.rmu.Lock()
	defer t.rmu.Unlock()
	for t.readErr == nil {
		if t.message == nil {
			kind, r, err := t.ws.NextReader()
			if err != nil {
				return 0, t.endRead(err)
			}
			if kind != websocket.BinaryMessage {
				t.refuseText()
				return 0, t.endRead(errText)
			}
			t.message = r
		}
		n, err := t.message.Read(p)
		switch {
		case err == io.EOF: //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
			t.message = nil
		case err != nil:
			err = t.endRead(err)
			if n == 0 {
				return 0, err
			}
		}
		if n > 0 || len(p) == 0 {
			t.received.Add(1)
			return n, nil
		}
	}
	return 0, t.readErr
}

// endRead latches err, which reading never gets past: gorilla panics when a
// failed connection is read again and again.
func (t *transport) endRead(err error) error {
	t.readErr = t.readError(err)
	if !t.isClosing() {
		t.ended.CompareAndSwap(nil, &endError{err})
	}
	return t.readErr
}

// readError puts an error of gorilla's into the terms of net and io.
func (t *transport) readError(err error) error {
	if t.isClosing() {
		return net.ErrClosed
	}
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		if isNormalClosure(ce) {
			return io.EOF
		}
		return &abnormalClosure{ce}
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return os.ErrDeadlineExceeded // gorilla's own time-out doesn't match it
	}
	return err
}

func isNormalClosure(ce *websocket.CloseError) bool {
	return ce.Code == websocket.CloseNormalClosure || ce.Code == websocket.CloseGoingAway
}

// abnormalClosure is io.ErrUnexpectedEOF that still knows the status code.
type abnormalClosure struct{ *websocket.CloseError }

func (e *abnormalClosure) Is(target error) bool { return target == io.ErrUnexpectedEOF } //nolint:errorlint // this is what errors.Is calls
func (e *abnormalClosure) Unwrap() error        { return e.CloseError }

// refuseText tells the peer that only binary messages are understood here.
func (t *transport) refuseText() {
	msg := websocket.FormatCloseMessage(websocket.CloseUnsupportedData, "binary messages only")
	_ = t.ws.WriteControl(websocket.CloseMessage, msg, time.Now().Add(closeFrameWait))
}

// Write sends p as one message.
func (t *transport) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.isClosing() {
		return 0, net.ErrClosed
	}
	if err := t.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, t.writeError(err)
	}
	return len(p), nil
}

// writePair sends a and b as one message.
func (t *transport) writePair(a, b []byte) error {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.isClosing() {
		return net.ErrClosed
	}
	w, err := t.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return t.writeError(err)
	}
	if _, err := w.Write(a); err != nil {
		return t.writeError(err)
	}
	if _, err := w.Write(b); err != nil {
		return t.writeError(err)
	}
	if err := w.Close(); err != nil {
		return t.writeError(err)
	}
	return nil
}

func (t *transport) writeError(err error) error {
	if t.isClosing() {
		return net.ErrClosed
	}
	if errors.Is(err, websocket.ErrCloseSent) { // gorilla answered the peer's Close frame
		return fmt.Errorf("wsmux: write: closed by the peer: %w", net.ErrClosed)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// handlePing answers a Ping from another goroutine: the reader must not wait
// for a full socket. While one answer waits, only the newest Ping is kept,
// which RFC 6455 §5.5.3 allows.
func (t *transport) handlePing(data string) error {
	t.received.Add(1)
	t.pongMu.Lock()
	defer t.pongMu.Unlock()
	t.pong = &data
	if !t.ponging {
		t.ponging = true
		go t.sendPongs()
	}
	return nil
}

func (t *transport) sendPongs() {
	for {
		t.pongMu.Lock()
		data := t.pong
		t.pong = nil
		if data == nil {
			t.ponging = false
		}
		t.pongMu.Unlock()
		if data == nil {
			return
		}
		// An error here shows in the next Write as well.
		_ = t.ws.WriteControl(websocket.PongMessage, []byte(*data), time.Now().Add(pongWait))
	}
}

// ping sends a Ping. It waits for the message that is being written, until
// deadline.
func (t *transport) ping(deadline time.Time) error {
	return t.ws.WriteControl(websocket.PingMessage, nil, deadline)
}

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
		close(t.closing)
		conn := t.ws.NetConn()
		_ = conn.SetReadDeadline(longAgo)
		err := t.ws.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(code, reason), time.Now().Add(closeFrameWait))
		_ = conn.SetWriteDeadline(longAgo)
		go t.linger(conn, err == nil)
	})
}

// linger reads what the peer still sends, then closes the socket.
func (t *transport) linger(conn net.Conn, closeSent bool) {
	defer close(t.done)
	t.rmu.Lock() // the reader has been woken and is leaving
	defer t.rmu.Unlock()
	answered := t.readErr != nil && !errors.Is(t.readErr, net.ErrClosed)
	if closeSent && !answered {
		_ = conn.SetReadDeadline(time.Now().Add(lingerWait))
		_, err := io.Copy(io.Discard, conn)
		answered = err == nil
	}
	if tc, ok := conn.(*tls.Conn); ok && !answered {
		conn = tc.NetConn() // TLS would try for five seconds to say goodbye
	}
	_ = conn.Close()
}

func (t *transport) isClosing() bool {
	select {
	case <-t.closing:
		return true
	default:
		return false
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
