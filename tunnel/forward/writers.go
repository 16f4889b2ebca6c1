package forward

import "sync"

// serverWriter writes the client's bytes to the server. It scans them first: a call
// must count as open before the server receives it.
type serverWriter struct {
	fl      *flow
	server  endpoint
	scanned int // how many bytes of the next write have already been scanned
}

func (w *serverWriter) Write(p []byte) (int, error)    { return w.write(p, w.server.Write) }
func (w *serverWriter) TryWrite(p []byte) (int, error) { return w.write(p, w.server.TryWrite) }

// Abort implements mux.Aborter: a server that doesn't read keeps no connection of a client
// that has gone.
func (w *serverWriter) Abort() { w.server.abort() }

func (w *serverWriter) write(p []byte, write func([]byte) (int, error)) (int, error) {
	if len(p) > w.scanned {
		w.fl.calls.scan(&w.fl.calls.requests, p[w.scanned:])
		w.scanned = len(p)
	}
	n, err := write(p)
	w.scanned -= n
	return n, err
}

// maxPartial is how many bytes of an incomplete frame a clientWriter buffers. gRPC
// servers send frames of 16 KiB unless the client allows more.
const maxPartial = 32 * 1024

var partialBuffers = sync.Pool{New: func() any { return new([maxPartial]byte) }}

// clientWriter writes the server's bytes to the client. If the client speaks HTTP/2, it
// writes only whole frames and buffers an incomplete one. If the rest of that never
// arrives, explain can thus still write frames. It scans bytes after writing them: a
// call ends when the client has received its end.
//
// flow.wmu guards the fields.
type clientWriter struct {
	fl      *flow
	partial []byte            // the incomplete frame
	buffer  *[maxPartial]byte // contains partial; nil while that is empty
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

// flush writes the incomplete frame at the end of the server's direction.
func (w *clientWriter) flush() error {
	w.fl.wmu.Lock()
	defer w.fl.wmu.Unlock()
	return w.writePartial(w.fl.client.Write)
}

// write writes the partial frame and p up to the last frame boundary, and buffers the
// rest. It returns how many bytes of p it wrote or buffered.
func (w *clientWriter) write(p []byte, write func([]byte) (int, error)) (n int, err error) {
	if whole := w.writable(p) - len(w.partial); whole >= 0 {
		if err := w.writePartial(write); err != nil || len(w.partial) > 0 {
			return 0, err
		}
		if n, err = w.writeAndScan(p[:whole], write); err != nil || n < whole {
			return n, err
		}
	}
	if n < len(p) {
		w.savePartial(p[n:])
	}
	return len(p), nil
}

// writable returns how many bytes of w.partial followed by p may be written: up to the
// last frame boundary, or all if they aren't HTTP/2 or too many to buffer.
func (w *clientWriter) writable(p []byte) int {
	all := len(w.partial) + len(p)
	if !w.fl.calls.http2.Load() {
		return all
	}
	whole := 0
	ahead := w.fl.calls.responses.Lookahead()
	ahead.Scan(w.partial)
	if n := ahead.Scan(p); n > 0 {
		whole = len(w.partial) + n
	}
	if !ahead.PrefaceDone() || ahead.Err() != nil || all-whole > maxPartial {
		return all
	}
	return whole
}

func (w *clientWriter) savePartial(p []byte) {
	if w.buffer == nil {
		w.buffer = partialBuffers.Get().(*[maxPartial]byte) //nolint:errcheck // it contains nothing else
		w.partial = w.buffer[:0]
	}
	w.partial = append(w.partial, p...)
}

func (w *clientWriter) writePartial(write func([]byte) (int, error)) error {
	n, err := w.writeAndScan(w.partial, write)
	if w.partial = w.partial[n:]; len(w.partial) == 0 && w.buffer != nil {
		partialBuffers.Put(w.buffer)
		w.partial, w.buffer = nil, nil
	}
	return err
}

// writeAndScan writes p and scans the bytes that were written.
func (w *clientWriter) writeAndScan(p []byte, write func([]byte) (int, error)) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := write(p)
	w.fl.calls.scan(&w.fl.calls.responses, p[:n])
	return n, err
}
