// Package ws turns the binary messages of a WebSocket into a byte stream.
//
//	c := ws.Take(conn, ws.Dialing, nil) // the caller must not use conn any more
//	c := ws.Share(conn, nil)            // the caller may send control frames
//	n, err := c.Read(p)
//	err = c.WriteFrame(header, body)    // one message, a part of one, or several
//	c.CloseWith(websocket.CloseNormalClosure, "")
//
// Message boundaries carry no meaning (RFC 6455 §5.4), empty messages are skipped,
// and a text message is refused with status code 1003.
//
// Take writes frames to the socket directly and, on the accepting side, also reads
// them from it, in a fraction of the time that gorilla needs for large messages.
// Share reads and writes only through gorilla's connection. The handlers, the read
// deadline and the read limit that the caller has set on that stay in force, and the
// caller may change them later.
//
// Small writes in quick succession are batched into one message. No write waits for
// a timer.
//
// Lifetimes: both functions take ownership of the connection. CloseWith closes it,
// and closes [Conn.Done] once the socket is closed.
//
// Concurrency: only one goroutine may call Read. All other methods may be called
// from any goroutine.
package ws

import (
	"cmp"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Side is one end of a WebSocket.
type Side int

// The dialing side is the client of RFC 6455, which masks its frames (§5.3). Either
// side may be the server of the protocol above.
const (
	Dialing Side = iota
	Accepting
)

// Options adjusts a Conn. Its zero value and nil mean the defaults.
type Options struct {
	// WriteTimeout is how long a write may make no progress before the Conn fails.
	// With Share it bounds the write of a whole message, and on TLS without
	// BatchRecords that of a whole frame. Default: no limit.
	WriteTimeout time.Duration

	// MaxMessage is how many bytes a message that the Conn sends has at most, for peers
	// with a limit. Default: no limit.
	MaxMessage int
}

// aLongTimeAgo is a deadline that makes pending calls return at once.
var aLongTimeAgo = time.Unix(1, 0)

// Conn is a byte stream over the binary messages of a WebSocket.
type Conn struct {
	ws           *websocket.Conn
	conn         net.Conn     // the socket, or TLS on it
	records      *recordsConn // below TLS; may be nil
	shared       bool         // made by Share
	writeTimeout time.Duration
	maxMessage   int
	started      time.Time

	lastReceived atomic.Int64 // when data or a control frame last arrived, in nanoseconds after started
	lastSent     atomic.Int64
	received     atomic.Uint64 // counts arrivals of data and control frames
	roundTrip    atomic.Int64  // of the last Ping, in nanoseconds; 0: none yet
	minRoundTrip atomic.Int64  // of all Pings

	failure atomic.Pointer[error] // the write error that Read is to return

	readMu  sync.Mutex // held during Read; guards the next three
	next    func() (kind int, message io.Reader, err error)
	message io.Reader // the rest of the current message; nil between messages
	readErr error     // the first read error, which is final

	writing    chan struct{} // holds a token during a write; guards frames and writeErr
	frames     *frameWriter  // nil: write through gorilla
	writeErr   error         // the first write error, which is final
	queue      queue
	peerClosed atomic.Bool // the peer's Close frame has arrived: only a Close frame may follow

	pings pings
	pongs pongs

	closeOnce sync.Once
	closing   chan struct{} // closed when CloseWith begins
	done      chan struct{} // closed when the socket is closed
	endOnce   sync.Once
	end       error         // why reading ended, as gorilla's error
	ended     chan struct{} // closed when end is set
}

// Take returns a byte stream on conn. The caller must not use conn any more, not
// even for control frames. On the accepting side, nothing may have been read from
// conn since the upgrade.
func Take(conn *websocket.Conn, side Side, opts *Options) *Conn {
	c := newConn(conn, opts)
	c.frames = newFrameWriter(c.conn, c.records, side, c.renewWriteDeadline)
	if side == Accepting {
		c.next = newFrameReader(c).nextMessage
	}
	return c
}

// Share returns a byte stream on conn. The caller may still send control frames with
// conn.WriteControl, and set handlers and read deadlines.
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
		maxMessage:   cmp.Or(opts.MaxMessage, math.MaxInt),
		started:      time.Now(),
		next:         conn.NextReader,
		writing:      make(chan struct{}, 1),
		closing:      make(chan struct{}),
		done:         make(chan struct{}),
		ended:        make(chan struct{}),
	}
	c.setHandlers()
	return c
}

// setHandlers sets handlers for control frames that record them and then call the
// caller's handlers.
func (c *Conn) setHandlers() {
	onPing, onPong, onClose := c.ws.PingHandler(), c.ws.PongHandler(), c.ws.CloseHandler()
	if isDefaultPingHandler(onPing) {
		onPing = c.answerPing
	}
	c.ws.SetPingHandler(func(data string) error {
		c.recordReceived()
		defer c.wakeReaderIfFailed()
		return onPing(data)
	})
	c.ws.SetPongHandler(func(data string) error {
		c.recordReceived()
		c.receivePong(data)
		defer c.wakeReaderIfFailed()
		return onPong(data)
	})
	c.ws.SetCloseHandler(func(code int, text string) error {
		// Record the peer's status code before onClose answers: writes fail from
		// then on, and their error must include it.
		c.recordEnd(&websocket.CloseError{Code: code, Text: text})
		c.peerClosed.Store(true)
		if c.acquireWriter(time.Now().Add(CloseWait)) == nil {
			defer c.releaseWriter()
		}
		return onClose(code, text)
	})
}

func (c *Conn) recordReceived() {
	c.received.Add(1)
	c.lastReceived.Store(int64(time.Since(c.started)))
}

func (c *Conn) recordSent() { c.lastSent.Store(int64(time.Since(c.started))) }

// LocalAddr returns the local address of the socket.
func (c *Conn) LocalAddr() net.Addr { return c.ws.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.ws.RemoteAddr() }

// Received returns a counter that grows whenever anything arrives: a control frame,
// or part of a message. While it changes, the peer is alive.
func (c *Conn) Received() uint64 { return c.received.Load() }

// LastActivity returns when anything was last sent or received.
func (c *Conn) LastActivity() time.Time {
	return c.started.Add(time.Duration(max(c.lastReceived.Load(), c.lastSent.Load())))
}
