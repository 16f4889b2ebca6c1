package wsmux

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// errText is what reading ends with when the peer sends a text message.
var errText = errors.New("wsmux: peer sent a text message, want binary")

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// transport is a byte stream over the binary messages of a WebSocket. It is
// what yamux runs on: no deadlines, and no goroutines or copies that aren't
// worth it. Read runs in the caller's goroutine, straight on gorilla's
// connection, and so does all but the smallest of what is written.
type transport struct {
	ws           *websocket.Conn
	writeTimeout time.Duration // for the socket to take a message; 0: for ever

	// received grows with everything that arrives, so that a keepalive can
	// tell a live peer from a silent one without touching the clock here.
	received atomic.Uint64

	started        time.Time
	leastRoundTrip atomic.Int64 // of a Ping, in nanoseconds; 0: not known yet

	rmu     sync.Mutex                                      // held while reading
	next    func() (kind int, message io.Reader, err error) // gorilla's NextReader, or a frameReader's
	message io.Reader                                       // rest of the current message; nil between messages
	readErr error                                           // first read error, which is final

	writing    chan struct{}     // holds a token while a frame is sent; it guards:
	frames     *frameWriter      // nil: gorilla writes, so that others may send control frames
	writeErr   error             // first write error, which is final
	burst      burst             // what goes out with the next frame
	failed     func(error) error // is told what that failed with
	peerClosed atomic.Bool       // its Close frame has come: nothing may follow the answer

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
		next:     ws.NextReader,
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
			kind, r, err := t.next()
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
