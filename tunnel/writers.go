package tunnel

import (
	"net"
	"sync"
)

// serverWriter writes what the client sends to the server. A call is noticed
// before it is sent: drain must not take the connection for idle while the call is
// on its way.
type serverWriter struct {
	far        net.Conn
	socket     *socketWriter // of far; may be nil
	fromClient *frames
	followed   int // how much of what comes next has been noticed already
}

func (w *serverWriter) Write(p []byte) (int, error) {
	w.follow(p)
	n, err := w.far.Write(p)
	w.followed -= n
	return n, err
}

// TryWrite is Write as far as it doesn't wait.
func (w *serverWriter) TryWrite(p []byte) (int, error) {
	if w.socket == nil {
		return 0, nil
	}
	w.follow(p)
	n, err := w.socket.tryWrite(p)
	w.followed -= n
	return n, err
}

func (w *serverWriter) follow(p []byte) {
	if len(p) > w.followed {
		w.fromClient.follow(p[w.followed:])
		w.followed = len(p)
	}
}

// clientWriter writes what the server sends to the client. One that speaks HTTP/2
// gets whole frames, which it would have to wait for anyway: so when the rest
// doesn't come, there is room for a GOAWAY that says why. The end of a call is
// noticed once the client has it.
type clientWriter struct {
	fl     *flow
	socket *socketWriter // of the client's end; may be nil

	// fl.wmu guards it:
	come     *frames         // what has come from the server
	followed int             // how much of what comes next is in that already
	whole    int             // how much of held, and then of what comes next, may be written
	held     []byte          // the beginning of a frame
	buffer   *[mostHeld]byte // that it is in, while there is any
}

// mostHeld is the longest beginning of a frame that is held back: one that gRPC
// sends is 16 KiB and its header, unless the client allows more.
const mostHeld = 32 * 1024

var heldBuffers = sync.Pool{New: func() any { return new([mostHeld]byte) }}

func newClientWriter(fl *flow) *clientWriter {
	return &clientWriter{fl: fl, socket: newSocketWriter(fl.near), come: newFrames(nil, false)}
}

func (w *clientWriter) Write(p []byte) (int, error) {
	w.fl.wmu.Lock()
	defer w.fl.wmu.Unlock()
	n, err := w.write(p, false)
	if err == nil {
		w.fl.writeGoAway()
	}
	return n, err
}

// TryWrite is Write as far as it doesn't wait.
func (w *clientWriter) TryWrite(p []byte) (int, error) {
	if w.socket == nil || !w.fl.wmu.TryLock() {
		return 0, nil
	}
	defer w.fl.wmu.Unlock()
	if w.fl.leaving {
		return 0, nil // writeGoAway may wait
	}
	return w.write(p, true)
}

// flush writes what is held, because that was all.
func (w *clientWriter) flush() error {
	w.fl.wmu.Lock()
	defer w.fl.wmu.Unlock()
	w.whole = len(w.held)
	return w.writeHeld(false)
}

// write writes what is held and p as far as they are whole frames, and then holds
// the rest. It returns how much of p has been written or is held.
func (w *clientWriter) write(p []byte, try bool) (int, error) {
	w.follow(p)
	if w.whole > 0 {
		if err := w.writeHeld(try); err != nil || len(w.held) > 0 {
			return 0, err
		}
	}
	n, err := 0, error(nil)
	if w.whole > 0 {
		n, err = w.put(p[:w.whole], try)
	}
	if w.whole == 0 && err == nil && n < len(p) {
		w.hold(p[n:])
		n = len(p)
	}
	w.followed -= n
	return n, err
}

// follow finds out how much may be written.
func (w *clientWriter) follow(p []byte) {
	if w.followed < len(p) {
		if whole := w.come.follow(p[w.followed:]); whole > 0 {
			w.whole = len(w.held) + w.followed + whole
		}
		w.followed = len(p)
	}
	all := len(w.held) + len(p)
	if !w.fl.calls.http2.Load() || !w.come.begun || w.come.done || all-w.whole > mostHeld {
		w.whole = all
	}
}

func (w *clientWriter) hold(p []byte) {
	if w.buffer == nil {
		w.buffer = heldBuffers.Get().(*[mostHeld]byte) //nolint:errcheck // nothing else is in there
		w.held = w.buffer[:0]
	}
	w.held = append(w.held, p...)
}

func (w *clientWriter) writeHeld(try bool) error {
	n, err := w.put(w.held, try)
	if w.held = w.held[n:]; len(w.held) == 0 && w.buffer != nil {
		heldBuffers.Put(w.buffer)
		w.held, w.buffer = nil, nil
	}
	return err
}

// put writes p, which may be written.
func (w *clientWriter) put(p []byte, try bool) (n int, err error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case try:
		n, err = w.socket.tryWrite(p)
	default:
		n, err = w.fl.near.Write(p)
	}
	w.whole -= n
	w.fl.fromServer.follow(p[:n])
	return n, err
}
