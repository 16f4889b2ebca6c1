// Package ws makes the binary messages of a WebSocket a byte stream.
//
//	c := ws.Take(conn, ws.Dialing, nil) // nobody else uses conn any more
//	c := ws.Share(conn, nil)            // the caller may send control frames
//	n, err := c.Read(p)
//	err = c.WriteFrame(header, body)    // one message, or a part of one
//	c.CloseWith(websocket.CloseNormalClosure, "")
//
// Message boundaries carry no meaning (RFC 6455 §5.4), empty messages add
// nothing, and a text message is refused with status code 1003.
//
// Take sends and, on the accepting side, reads frames on the socket itself,
// which takes a fraction of gorilla's time for large messages. Share sends and
// reads through gorilla's connection alone, and keeps what the caller has set on
// it: handlers, read deadline, read limit. The caller may go on to set them.
//
// Small writes that follow closely on each other are joined; nothing ever waits
// for a timer.
//
// Lifetimes: both functions take over the connection: CloseWith closes it, and
// [Conn.Done] is closed when the socket is.
//
// Concurrency: one goroutine may read; everything else may be called from any.
package ws

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Side is one end of a WebSocket. The dialing side masks what it sends (RFC 6455
// §5.3).
type Side int

// The sides are unrelated to who serves on top of the WebSocket.
const (
	Dialing Side = iota
	Accepting
)

// Options adjusts a Conn. Its zero value and nil mean the defaults.
type Options struct {
	// WriteTimeout is how long the socket may take nothing of a message that is
	// being sent; Conn fails then. A shared Conn has this time for a whole
	// message, and one on TLS without BatchRecords for a whole frame. Default: no
	// limit.
	WriteTimeout time.Duration
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// Conn is a byte stream over the binary messages of a WebSocket.
type Conn struct {
	ws           *websocket.Conn
	conn         net.Conn     // the socket, or TLS on it
	records      *recordsConn // below TLS; may be nil
	shared       bool
	writeTimeout time.Duration
	started      time.Time

	lastReceived atomic.Int64 // when anything, down to a Pong, last arrived: nanoseconds after started
	lastSent     atomic.Int64
	received     atomic.Uint64 // grows with everything that arrives
	roundTrip    atomic.Int64  // of the last Ping, in nanoseconds; 0: none yet
	leastTrip    atomic.Int64  // of all Pings
	readMu       sync.Mutex    // held while reading; guards the next three
	next         func() (kind int, message io.Reader, err error)
	message      io.Reader             // the rest of the current message; nil between messages
	readErr      error                 // the first read error, which is final
	failure      atomic.Pointer[error] // why writing failed, for the reader

	writing    chan struct{} // holds a token while a frame is sent; guards frames and writeErr
	frames     *frameWriter  // nil: gorilla writes
	writeErr   error         // the first write error, which is final
	queue      queue
	peerClosed atomic.Bool // the peer's Close frame has arrived: only the answer may follow

	pings pings
	pongs pongs

	closeOnce sync.Once
	closing   chan struct{} // closed when CloseWith begins
	done      chan struct{} // closed when the socket is
	endOnce   sync.Once
	end       error         // why reading ended, in gorilla's terms
	endKnown  chan struct{} // closed when end is set
	closeSent atomic.Pointer[websocket.CloseError]
}

// Take returns a byte stream on conn, which is its own from now on: nobody else
// may read, write or send control frames. On the accepting side nothing may
// have been read from conn since it was upgraded.
func Take(conn *websocket.Conn, side Side, opts *Options) *Conn {
	c := newConn(conn, opts)
	c.frames = newFrameWriter(c.conn, c.records, side, c.renewWriteDeadline)
	if side == Accepting {
		c.next = newFrameReader(c).nextMessage
	}
	return c
}

// Share returns a byte stream on conn, on which the caller may still send control
// frames with WriteControl and set handlers and deadlines.
func Share(conn *websocket.Conn, opts *Options) *Conn {
	c := newConn(conn, opts)
	c.shared = true
	return c
}

func newConn(conn *websocket.Conn, opts *Options) *Conn {
	if opts == nil {
		opts = &Options{}
	}
	c := &Conn{
		ws:           conn,
		conn:         conn.NetConn(),
		records:      recordsBelow(conn.NetConn()),
		writeTimeout: opts.WriteTimeout,
		started:      time.Now(),
		next:         conn.NextReader,
		writing:      make(chan struct{}, 1),
		closing:      make(chan struct{}),
		done:         make(chan struct{}),
		endKnown:     make(chan struct{}),
	}
	c.setHandlers()
	return c
}

// setHandlers sets handlers for control frames, which call those that the caller
// has set.
func (c *Conn) setHandlers() {
	onPing, onPong, onClose := c.ws.PingHandler(), c.ws.PongHandler(), c.ws.CloseHandler()
	if isDefaultPingHandler(onPing) {
		onPing = c.answerPing
	}
	c.ws.SetPingHandler(func(data string) error {
		c.noteReceived()
		defer c.keepFailed()
		return onPing(data)
	})
	c.ws.SetPongHandler(func(data string) error {
		c.noteReceived()
		c.receivePong(data)
		defer c.keepFailed()
		return onPong(data)
	})
	c.ws.SetCloseHandler(func(code int, text string) error {
		// Recorded before it is answered: from then on writing fails, and the
		// peer's status code must be known.
		c.noteEnd(&websocket.CloseError{Code: code, Text: text})
		c.peerClosed.Store(true)
		if c.takeTurn(time.Now().Add(closeFrameWait)) == nil {
			defer c.endTurn()
		}
		return onClose(code, text)
	})
}

func (c *Conn) noteReceived() {
	c.received.Add(1)
	c.lastReceived.Store(int64(time.Since(c.started)))
}

func (c *Conn) noteSent() { c.lastSent.Store(int64(time.Since(c.started))) }

// LocalAddr returns the local address of the socket.
func (c *Conn) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// Received returns a counter that grows with everything that the peer sends, down
// to a Pong or a part of a message. While it changes, the peer is alive.
func (c *Conn) Received() uint64 { return c.received.Load() }

// LastActivity returns when anything was last sent or received.
func (c *Conn) LastActivity() time.Time {
	return c.started.Add(time.Duration(max(c.lastReceived.Load(), c.lastSent.Load())))
}
