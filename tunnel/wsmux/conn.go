package wsmux

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/ws"
)

const (
	// connBuffer is the size of the buffer in each direction, in bytes.
	connBuffer = 64 * 1024

	// flushWait bounds how long the write buffer is flushed after Close.
	flushWait = time.Second
)

// WrapConn returns a [net.Conn] that carries a byte stream in the binary messages of
// conn. Message boundaries mean nothing, empty messages are skipped, and a text
// message is refused with status code 1003 (RFC 6455 §7.4.1). WrapConn takes
// ownership of conn; it panics if conn is nil.
//
// Read returns [io.EOF] after a normal closure (status codes 1000 and 1001), and
// otherwise an error that matches [io.ErrUnexpectedEOF] and wraps a
// [*websocket.CloseError] with the status code. After Close, Read and Write return
// [net.ErrClosed]. Read errors other than timeouts are final.
//
// Write copies to a buffer of 64 KiB, which is sent immediately in the background, as
// the kernel does for a socket. A later call may therefore return the error. Write
// blocks while the buffer is full. Concurrent Writes never interleave.
//
// Deadlines are those of any net.Conn. Unlike gorilla's, they can be extended after
// they have passed: a Read that times out loses no bytes, and the n bytes of a Write
// that times out will be sent. This costs a copy and a goroutine switch in each
// direction. The sessions of this package set no deadlines and avoid that cost.
//
// The caller may set a read deadline on conn itself, before or after WrapConn. Reading
// ends permanently when it passes, with [os.ErrDeadlineExceeded]. (That is also the
// error if the kernel gives up on the connection: gorilla hides the difference.) The
// caller's handlers, set before or after, are called during Read. gorilla's default
// Ping handler is replaced by one that doesn't block Read.
//
// Close sends the buffer and a Close frame with status code 1000, makes Read and
// Write return, and returns within half a second. The socket is closed when the peer
// has answered, or after two seconds.
func WrapConn(conn *websocket.Conn) net.Conn {
	c := &wrappedConn{
		ws:            ws.Share(conn, nil),
		closed:        make(chan struct{}),
		readDeadline:  newDeadline(),
		reading:       make(chan struct{}, 1),
		fills:         make(chan fillResult, 1),
		writeDeadline: newDeadline(),
		writing:       make(chan struct{}, 1),
		room:          make(chan struct{}, 1),
	}
	c.goFill, c.goFlush = c.fill, c.flush
	return c
}

// wrappedConn has a buffer and a goroutine in each direction. gorilla's calls can't be
// interrupted and resumed, so when a caller times out, the goroutine stays in them.
type wrappedConn struct {
	ws        *ws.Conn
	closeOnce sync.Once
	closed    chan struct{} // closed by Close

	goFill, goFlush func() // fill and flush; a go statement with a field doesn't allocate

	readDeadline *deadline
	reading      chan struct{} // holds a token during a Read; guards the next four
	unread       []byte        // bytes of the last fill that haven't been read
	readErr      error         // error of the last fill, to return when unread is empty
	filling      bool          // a fill is running
	readBuf      []byte        // used by the running fill
	fills        chan fillResult

	writeDeadline *deadline
	writing       chan struct{} // holds a token during a Write
	room          chan struct{} // holds a token if pending may have room

	mu       sync.Mutex
	pending  []byte        // to be sent by the next flush
	spare    []byte        // the other of the two buffers
	flushing bool          // a flush is running
	flushed  chan struct{} // closed when it ends; nil unless Close waits for it
	writeErr error         // the first write error, which is final
}

// fillResult is the result of one read from the WebSocket.
type fillResult struct {
	data []byte
	err  error
}

func (c *wrappedConn) Read(p []byte) (int, error) {
	if err := c.acquire(c.reading, c.readDeadline); err != nil {
		return 0, err
	}
	defer func() { <-c.reading }()
	if len(c.unread) == 0 && c.readErr == nil && len(p) > 0 {
		if !c.filling {
			c.filling = true
			go c.goFill()
		}
		select {
		case f := <-c.fills:
			c.filling = false
			c.unread, c.readErr = f.data, f.err
		case <-c.readDeadline.done():
			return 0, os.ErrDeadlineExceeded
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	if len(c.unread) == 0 {
		return 0, c.readErr
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// fill reads once from the WebSocket, for the current Read or a later one.
func (c *wrappedConn) fill() {
	if c.readBuf == nil {
		c.readBuf = make([]byte, connBuffer)
	}
	n, err := c.ws.Read(c.readBuf)
	if errors.Is(err, io.EOF) {
		err = io.EOF // io.Reader's contract: the end is io.EOF itself
	}
	c.fills <- fillResult{c.readBuf[:n], err}
}

func (c *wrappedConn) Write(p []byte) (int, error) {
	if err := c.acquire(c.writing, c.writeDeadline); err != nil {
		return 0, err
	}
	defer func() { <-c.writing }()
	n := 0
	for {
		k, err := c.enqueue(p[n:])
		n += k
		if err != nil || n == len(p) {
			return n, err
		}
		select {
		case <-c.room:
		case <-c.writeDeadline.done():
			return n, os.ErrDeadlineExceeded
		case <-c.closed:
			return n, net.ErrClosed
		}
	}
}

// enqueue appends as much of p to pending as fits, and starts a flush. It returns how
// many bytes it appended.
func (c *wrappedConn) enqueue(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeErr != nil {
		return 0, c.writeErr
	}
	n := min(len(p), connBuffer-len(c.pending))
	c.pending = append(c.pending, p[:n]...)
	if !c.flushing && n > 0 {
		c.flushing = true
		go c.goFlush()
	}
	return n, nil
}

// flush sends the pending bytes, one message at a time, until there are none.
func (c *wrappedConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) > 0 && c.writeErr == nil {
		buf := c.pending
		c.pending = c.spare[:0]
		c.mu.Unlock()
		_, err := c.ws.Write(buf)
		c.mu.Lock()
		c.spare, c.writeErr = buf, err
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
	c.flushing = false
	if c.flushed != nil {
		close(c.flushed)
		c.flushed = nil // a Write that began before Close may start another flush
	}
}

// acquire takes the token of one direction, so that its calls don't overlap.
func (c *wrappedConn) acquire(token chan struct{}, d *deadline) error {
	select {
	case <-c.closed: // ErrClosed has priority over a timeout, and both over progress
		return net.ErrClosed
	default:
	}
	if d.passed() {
		return os.ErrDeadlineExceeded
	}
	select {
	case token <- struct{}{}:
		return nil
	case <-d.done():
		return os.ErrDeadlineExceeded
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *wrappedConn) Close() error {
	c.closeOnce.Do(func() {
		close(c.closed)
		sent := make(chan struct{})
		go c.flushAndClose(sent)
		select {
		case <-sent:
		case <-time.After(2 * ws.CloseWait):
		}
	})
	return nil
}

// flushAndClose waits up to flushWait for the running flush, closes the WebSocket, and
// closes sent.
func (c *wrappedConn) flushAndClose(sent chan<- struct{}) {
	defer close(sent)
	if flushed := c.flushDone(); flushed != nil {
		select {
		case <-flushed:
		case <-time.After(flushWait):
		}
	}
	c.ws.CloseWith(websocket.CloseNormalClosure, "")
}

// flushDone returns a channel that is closed when the running flush ends, or nil if
// none is running.
func (c *wrappedConn) flushDone() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushing {
		c.flushed = make(chan struct{})
	}
	return c.flushed
}

func (c *wrappedConn) LocalAddr() net.Addr  { return c.ws.LocalAddr() }
func (c *wrappedConn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

func (c *wrappedConn) SetDeadline(at time.Time) error {
	c.readDeadline.set(at)
	c.writeDeadline.set(at)
	return nil
}

func (c *wrappedConn) SetReadDeadline(at time.Time) error {
	c.readDeadline.set(at)
	return nil
}

func (c *wrappedConn) SetWriteDeadline(at time.Time) error {
	c.writeDeadline.set(at)
	return nil
}
