package forward

import "sync"

// serverWriter writes the bytes of the client to the server. It scans them first:
// a call counts as open before the server receives it, so that draining doesn't take
// the connection for idle.
type serverWriter struct {
	fl      *flow
	server  end
	scanned int // bytes of the next write that have been scanned already
}

func (w *serverWriter) Write(p []byte) (int, error)    { return w.write(p, w.server.Write) }
func (w *serverWriter) TryWrite(p []byte) (int, error) { return w.write(p, w.server.TryWrite) }

func (w *serverWriter) write(p []byte, write func([]byte) (int, error)) (int, error) {
	if len(p) > w.scanned {
		w.fl.calls.scan(w.fl.calls.requests, p[w.scanned:])
		w.scanned = len(p)
	}
	n, err := write(p)
	w.scanned -= n
	return n, err
}

// maxHeld is the longest beginning of a frame that a clientWriter holds back. gRPC
// servers send 16 KiB in a frame, unless the client allows more.
const maxHeld = 32 * 1024

var heldBuffers = sync.Pool{New: func() any { return new([maxHeld]byte) }}

// clientWriter writes the bytes of the server to the client. A client that speaks
// HTTP/2 receives whole frames, and can't use a part of one anyway: if the rest never
// arrives, a GOAWAY can still follow and say why. It scans bytes once they are
// written: a call is over when the client has received its end.
//
// The flow's wmu guards the fields.
type clientWriter struct {
	fl     *flow
	held   []byte         // the beginning of a frame
	buffer *[maxHeld]byte // contains held; nil while it is empty
}

func (w *clientWriter) Write(p []byte) (int, error) {
	w.fl.wmu.Lock()
	defer w.fl.wmu.Unlock()
	n, err := w.write(p, w.fl.client.Write)
	if err == nil {
		w.fl.writeGoAway()
	}
	return n, err
}

func (w *clientWriter) TryWrite(p []byte) (int, error) {
	if !w.fl.wmu.TryLock() {
		return 0, nil
	}
	defer w.fl.wmu.Unlock()
	if w.fl.goingAway {
		return 0, nil // writeGoAway may block
	}
	return w.write(p, w.fl.client.TryWrite)
}

// flush writes the held bytes at the end of the server's direction.
func (w *clientWriter) flush() error {
	w.fl.wmu.Lock()
	defer w.fl.wmu.Unlock()
	return w.writeHeld(w.fl.client.Write)
}

// write writes the held bytes and p up to the last boundary between frames, and
// holds the rest. It returns how much of p is written or held.
func (w *clientWriter) write(p []byte, write func([]byte) (int, error)) (n int, err error) {
	if whole := w.whole(p) - len(w.held); whole >= 0 {
		if err := w.writeHeld(write); err != nil || len(w.held) > 0 {
			return 0, err
		}
		if n, err = w.put(p[:whole], write); err != nil || n < whole {
			return n, err
		}
	}
	if n < len(p) {
		w.hold(p[n:])
	}
	return len(p), nil
}

// whole returns how many of the held bytes and p may be written. The held bytes
// contain no boundary.
func (w *clientWriter) whole(p []byte) int {
	all := len(w.held) + len(p)
	if !w.fl.calls.http2.Load() {
		return all
	}
	whole := 0
	ahead := w.fl.calls.responses.Ahead()
	ahead.Scan(w.held)
	if n := ahead.Scan(p); n > 0 {
		whole = len(w.held) + n
	}
	if !ahead.Greeted() || ahead.Err() != nil || all-whole > maxHeld {
		return all
	}
	return whole
}

func (w *clientWriter) hold(p []byte) {
	if w.buffer == nil {
		w.buffer = heldBuffers.Get().(*[maxHeld]byte) //nolint:errcheck // it contains nothing else
		w.held = w.buffer[:0]
	}
	w.held = append(w.held, p...)
}

func (w *clientWriter) writeHeld(write func([]byte) (int, error)) error {
	n, err := w.put(w.held, write)
	if w.held = w.held[n:]; len(w.held) == 0 && w.buffer != nil {
		heldBuffers.Put(w.buffer)
		w.held, w.buffer = nil, nil
	}
	return err
}

// put writes p, and scans as much of it as has been written.
func (w *clientWriter) put(p []byte, write func([]byte) (int, error)) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := write(p)
	w.fl.calls.scan(w.fl.calls.responses, p[:n])
	return n, err
}
