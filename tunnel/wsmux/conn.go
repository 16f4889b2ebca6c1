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
	// connBuffer is how much a conn holds in each direction, in bytes.
	connBuffer = 64 * 1024

	// flushWait bounds how long Close lets written data leave the buffer.
	flushWait = time.Second
)

// WrapConn makes a WebSocket a [net.Conn]: the byte stream that its binary
// messages carry. Message boundaries mean nothing, empty messages are skipped,
// and a text message is refused with status code 1003 (RFC 6455 §7.4.1).
// WrapConn takes ownership of conn; a nil conn panics.
//
// Read returns [io.EOF] after a normal closure (status codes 1000 and 1001)
// and an error that is [io.ErrUnexpectedEOF] after any other end; the status
// code is in that error's [*websocket.CloseError]. After Close, Read and Write
// return [net.ErrClosed]. Read errors other than a deadline are final.
//
// Write copies to a buffer of 64 KiB that is sent at once in the background,
// as a kernel does for a socket, so an error may show in a later call. It
// blocks while the buffer is full. Concurrent Writes never interleave.
//
// Deadlines are those of any net.Conn and can be moved after they have passed,
// which gorilla's can't: a Read that times out loses nothing, and n of a Write
// that times out tells how much will be sent. The cost is a copy and a change
// of goroutine in each direction. Sessions of this package don't pay it: yamux
// sets no deadlines and runs on the WebSocket directly.
//
// A read deadline that the caller sets on conn itself, before or after, is in
// force, and ends the reading direction for good when it passes. (A connection
// that the kernel gives up on reads the same: gorilla hides the difference.)
// Handlers that the caller sets, before or after, are called; gorilla's default
// Ping handler is replaced by one that doesn't hold up reading. Control frames
// are handled while data is read.
//
// Close sends what is buffered and a Close frame with status code 1000, both
// within a fraction of a second, unblocks Read and Write, and returns. The
// socket is closed when the peer has answered, two seconds later at most.
func WrapConn(conn *websocket.Conn) net.Conn {
	c := &wrappedConn{
		ws:            ws.Share(conn, nil),
		closed:        make(chan struct{}),
		readDeadline:  newDeadline(nil),
		reading:       make(chan struct{}, 1),
		fills:         make(chan fill, 1),
		writeDeadline: newDeadline(nil),
		writing:       make(chan struct{}, 1),
		room:          make(chan struct{}, 1),
	}
	c.goFill, c.goFlush = c.fill, c.flush
	return c
}

// wrappedConn puts a buffer and a goroutine between the caller and the
// transport in each direction: a caller that gives up waiting has to leave
// behind a call of gorilla's, which can't be interrupted and resumed.
type wrappedConn struct {
	ws        *ws.Conn
	closeOnce sync.Once
	closed    chan struct{}

	goFill, goFlush func() // to start without an allocation

	readDeadline *deadline
	reading      chan struct{} // holds a token while a Read runs; it guards:
	unread       []byte        // the rest of what the last fill brought
	readErr      error         // what the last fill ended with, once unread is empty
	filling      bool          // whether a fill is under way
	readBuf      []byte        // belongs to the fill under way
	fills        chan fill

	writeDeadline *deadline
	writing       chan struct{} // holds a token while a Write runs
	room          chan struct{} // holds a token when there may be room in pending

	mu       sync.Mutex
	pending  []byte        // what the next flush sends
	spare    []byte        // the buffer that isn't pending
	flushing bool          // whether a flush is under way
	flushed  chan struct{} // closed when it ends; nil unless Close waits for that
	writeErr error         // first write error, which is final
}

// fill is the outcome of one read from the transport.
type fill struct {
	data []byte
	err  error
}

func (c *wrappedConn) Read(p []byte) (int, error) {
	if err := c.enter(c.reading, c.readDeadline); err != nil {
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

// fill reads once from the transport.
func (c *wrappedConn) fill() {
	if c.readBuf == nil {
		c.readBuf = make([]byte, connBuffer)
	}
	n, err := c.ws.Read(c.readBuf)
	if errors.Is(err, io.EOF) {
		err = io.EOF // io.Reader's contract: the end is io.EOF itself
	}
	c.fills <- fill{c.readBuf[:n], err}
}

func (c *wrappedConn) Write(p []byte) (int, error) {
	if err := c.enter(c.writing, c.writeDeadline); err != nil {
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

// enqueue appends to pending what there is room for, and has it flushed.
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

// flush sends what is pending, one message a round, until nothing is.
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
		c.flushed = nil // a Write that Close has overtaken may flush once more
	}
}

// enter takes the token of one direction, so that calls take turns.
func (c *wrappedConn) enter(token chan struct{}, d *deadline) error {
	select {
	case <-c.closed: // closed goes before timed out, and both before progress
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
		go c.finish(sent)
		select {
		case <-sent:
		case <-time.After(2 * ws.CloseWait):
		}
	})
	return nil
}

// finish lets the flush under way end, within flushWait, and closes the
// transport.
func (c *wrappedConn) finish(sent chan<- struct{}) {
	defer close(sent)
	if flushed := c.whenFlushed(); flushed != nil {
		select {
		case <-flushed:
		case <-time.After(flushWait):
		}
	}
	c.ws.CloseWith(websocket.CloseNormalClosure, "")
}

// whenFlushed returns a channel that is closed when the flush under way ends, or nil
// if none is.
func (c *wrappedConn) whenFlushed() <-chan struct{} {
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
