package mux

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Transport is the connection below a session. [NewTransport] makes one of any
// net.Conn.
type Transport interface {
	// Read returns bytes as they arrive. An error that is io.EOF means that the
	// peer ended the session in order; any other is the reason of its end.
	io.Reader

	// WriteFrame sends header and body, which may be empty, after everything
	// that was queued or written before. It may block, and does while more than
	// 64 KiB are queued. After an error, Read
	// fails as well, without delay.
	WriteFrame(header, body []byte) error

	// QueueFrame copies header and sends it soon, after everything that was
	// queued or written before. It never blocks.
	QueueFrame(header []byte)

	// Queued returns how many bytes are queued.
	Queued() int

	// Close sends the queue and closes the connection, all within a bound;
	// Read and WriteFrame return then. reason is the reason of the session's
	// end. Only the first call has an effect.
	Close(reason error)

	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// closeWait bounds how long Close of a connTransport sends the queue.
const closeWait = 200 * time.Millisecond

// NewTransport returns a transport on conn, whose Read and Write must return
// when it is closed. It has no time-out: while the peer takes nothing, Write of a
// stream blocks until the session is closed.
func NewTransport(conn net.Conn) Transport {
	return &connTransport{Conn: conn, writing: make(chan struct{}, 1)}
}

type connTransport struct {
	net.Conn
	closing sync.Once

	writing chan struct{} // holds a token while something is written; guards err
	err     error         // the first write error, which is final

	mu       sync.Mutex
	queue    []byte
	flushing bool // a goroutine sends the queue
}

func (t *connTransport) WriteFrame(header, body []byte) error {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	return t.write(header, body)
}

// write sends the queue and then a frame. The caller holds the token.
func (t *connTransport) write(header, body []byte) error {
	t.mu.Lock()
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	buffers := make(net.Buffers, 0, 3)
	for _, p := range [][]byte{queue, header, body} {
		if len(p) > 0 { // an empty Write waits for a reader on a net.Pipe
			buffers = append(buffers, p)
		}
	}
	if _, t.err = buffers.WriteTo(t.Conn); t.err != nil {
		_ = t.Conn.Close() // so that Read fails
	}
	return t.err
}

func (t *connTransport) QueueFrame(header []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, header...)
	if !t.flushing {
		t.flushing = true
		go t.flush()
	}
}

func (t *connTransport) flush() {
	for {
		err := t.WriteFrame(nil, nil)
		t.mu.Lock()
		if len(t.queue) == 0 || err != nil {
			t.flushing = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
	}
}

func (t *connTransport) Queued() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue)
}

func (t *connTransport) Close(error) {
	t.closing.Do(func() {
		timer := time.AfterFunc(closeWait, func() { _ = t.Conn.Close() })
		defer timer.Stop()
		_ = t.WriteFrame(nil, nil)
		_ = t.Conn.Close()
	})
}

// isOrderly reports whether err, a reason of a session's end, means that the
// peer ended it in order.
func isOrderly(err error) bool { return errors.Is(err, io.EOF) }
