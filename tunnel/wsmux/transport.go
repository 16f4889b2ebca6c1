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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

	// unknownRoundTrip is what a round trip is taken for that hasn't been
	// measured.
	unknownRoundTrip = 100 * time.Millisecond

	// maxReason is what a Close frame has room for beside the status code:
	// RFC 6455 §5.5.
	maxReason = 123
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

	started        time.Time
	leastRoundTrip atomic.Int64 // of a Ping, in nanoseconds; 0: not known yet

	rmu     sync.Mutex // held while reading
	message io.Reader  // rest of the current message; nil between messages
	readErr error      // first read error, which is final

	writing    chan struct{} // holds a token while a frame is sent; it guards:
	frames     *frameWriter  // nil: gorilla writes, so that others may send control frames
	writeErr   error         // first write error, which is final
	burst      burst         // what goes out with the next frame
	peerClosed atomic.Bool   // its Close frame has come: nothing may follow the answer

	pongMu  sync.Mutex
	pong    *string // newest Ping still to be answered
	ponging bool    // whether a goroutine is answering

	closeOnce sync.Once
	closing   chan struct{} // closed when Close begins
	done      chan struct{} // closed when the socket is
	ended     atomic.Pointer[endError]
	endNoted  chan struct{} // closed when ended is set
}

// endError is why reading ended: one pointer, so that it can be stored
// atomically whatever the error's type.
type endError struct{ err error }

func newTransport(ws *websocket.Conn) *transport {
	t := &transport{
		ws:       ws,
		started:  time.Now(),
		writing:  make(chan struct{}, 1),
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
		endNoted: make(chan struct{}),
	}
	onPing, onPong, onClose := ws.PingHandler(), ws.PongHandler(), ws.CloseHandler()
	if isDefaultHandler(onPing) {
		onPing = t.answerPing
	}
	ws.SetPingHandler(func(data string) error {
		t.received.Add(1)
		return onPing(data)
	})
	ws.SetPongHandler(func(data string) error {
		t.received.Add(1)
		t.noteRoundTrip(data)
		return onPong(data)
	})
	ws.SetCloseHandler(func(code int, text string) error {
		// Noted before it is answered: from then on Write fails, and whoever
		// asks why must find the peer's status code.
		t.noteEnd(&websocket.CloseError{Code: code, Text: text})
		t.peerClosed.Store(true)
		if t.beginControl(time.Now().Add(closeFrameWait)) == nil {
			defer t.endControl()
		}
		return onClose(code, text)
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
			t.received.Add(1)
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
	t.noteEnd(err)
	return t.readErr
}

// noteEnd records why the connection ended, unless this side ended it.
func (t *transport) noteEnd(err error) {
	if !t.isClosing() && t.ended.CompareAndSwap(nil, &endError{err}) {
		close(t.endNoted)
	}
}

// readError puts an error of gorilla's into the terms of net and io.
func (t *transport) readError(err error) error {
	if t.isClosing() || errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	if isDeadline(err) {
		return os.ErrDeadlineExceeded
	}
	status, ok := errors.AsType[*websocket.CloseError](err)
	if !ok { // no Close frame came, which is what 1006 means: RFC 6455 §7.1.5
		status = &websocket.CloseError{Code: websocket.CloseAbnormalClosure, Text: err.Error()}
	}
	if isNormalClosure(status) {
		return io.EOF
	}
	return &abnormalError{status: status, cause: err}
}

// isDeadline reports whether err is a deadline that has passed. gorilla hides
// the error itself, and the kernel giving up on a silent peer, which is the
// end of the connection, calls itself a time-out too.
func isDeadline(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout() && !strings.HasSuffix(err.Error(), syscall.ETIMEDOUT.Error())
}

func isNormalClosure(ce *websocket.CloseError) bool {
	return ce.Code == websocket.CloseNormalClosure || ce.Code == websocket.CloseGoingAway
}

// abnormalError is io.ErrUnexpectedEOF that still knows the status code and what
// happened.
type abnormalError struct {
	status *websocket.CloseError
	cause  error
}

func (e *abnormalError) Error() string        { return e.cause.Error() }
func (e *abnormalError) Is(target error) bool { return target == io.ErrUnexpectedEOF }
func (e *abnormalError) Unwrap() []error      { return []error{e.cause, e.status} }

// refuseText tells the peer that only binary messages are understood here.
func (t *transport) refuseText() {
	msg := websocket.FormatCloseMessage(websocket.CloseUnsupportedData, "binary messages only")
	_ = t.control(websocket.CloseMessage, msg, time.Now().Add(closeFrameWait))
}

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
	if held := t.burst.take(false); len(held) > 0 {
		a = append(held, a...)
	}
	return t.writeLocked(a, b)
}

// writeLocked sends a and b as one message. The token of writing is held.
func (t *transport) writeLocked(a, b []byte) error {
	if t.writeErr != nil {
		return t.writeErr
	}
	switch {
	case t.isClosing():
		return net.ErrClosed
	case t.peerClosed.Load():
		return fmt.Errorf("wsmux: write: closed by the peer: %w", net.ErrClosed)
	}
	if err := t.writeMessage(a, b); err != nil {
		t.writeErr = t.writeError(err)
		return t.writeErr
	}
	t.burst.noteSent()
	return nil
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
		return os.ErrDeadlineExceeded
	}
	return err
}

// answerPing answers a Ping from another goroutine: the reader must not wait
// for a full socket. While one answer waits, only the newest Ping is kept,
// which RFC 6455 §5.5.3 allows.
func (t *transport) answerPing(data string) error {
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
		_ = t.control(websocket.PongMessage, []byte(*data), time.Now().Add(pongWait))
	}
}

// ping sends a Ping, with the time in it. It waits for the message that is being
// written, until deadline.
func (t *transport) ping(deadline time.Time) error {
	if err := t.beginControl(deadline); err != nil {
		return err
	}
	defer t.endControl()
	now := strconv.AppendInt(nil, time.Since(t.started).Nanoseconds(), 10)
	return t.ws.WriteControl(websocket.PingMessage, now, deadline)
}

// noteRoundTrip takes notice of a Pong. One that wasn't asked for has no time in
// it that could be right.
func (t *transport) noteRoundTrip(data string) {
	sent, err := strconv.ParseInt(data, 10, 64)
	took := time.Since(t.started).Nanoseconds() - sent
	if err != nil || sent < 0 || took <= 0 {
		return
	}
	if least := t.leastRoundTrip.Load(); least == 0 || took < least {
		t.leastRoundTrip.Store(took) // only the reader stores
	}
}

// roundTrip is the least that a Pong has taken, or a guess while none has come.
func (t *transport) roundTrip() time.Duration {
	if least := t.leastRoundTrip.Load(); least > 0 {
		return time.Duration(least)
	}
	return unknownRoundTrip
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

func (t *transport) endControl() {
	if t.frames != nil && !t.isClosing() { // whose deadline is to stay
		_ = t.frames.conn.SetWriteDeadline(time.Time{})
	}
	<-t.writing
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
