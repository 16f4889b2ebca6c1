package limit

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"

	"github.com/wstun/wstun/tunnel/h2"
)

// errHeaderBlock is the reason why a connection is closed.
var errHeaderBlock = errors.New("limit: an incomplete header block is too long")

// maxControl is how many frames with a reply of their own a server receives while a Write
// is blocked. grpc-go would queue 10,000 replies for each connection.
const maxControl = 64

// conn is a connection of a gRPC server or client. It passes header blocks on when they
// are complete, because grpc-go takes much more memory for a part of one than the peer
// has sent. flow bounds the messages.
type conn struct {
	net.Conn
	isClient bool
	flow     *flow

	// used by Read only:
	received *h2.Scanner
	inBlock  bool   // the frame being scanned is a header block
	held     []byte // received but not yet returned
	ready    int    // the first bytes of held, which may be returned
	lastHeld int64  // the value of counted that Read has set
	control  int    // frames with replies since Read has waited for a Write

	// guarded by Process.mu:
	counted int64 // bytes of held that count
	closed  bool
	leaving bool // the client receives, or has received, a GOAWAY of Reconnect

	wmu    sync.Mutex
	sent   frames
	queue  *h2.Scanner // of the sent bytes; nil for a client
	credit []byte      // delayed WINDOW_UPDATE frames, and others, to be sent at the next frame boundary
}

// listener accepts connections that a session limits.
type listener struct {
	net.Listener
	session *Session
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := newConn(c, l.session, false)
	l.session.process.mu.Lock()
	l.session.conns[conn] = struct{}{}
	l.session.process.mu.Unlock()
	return conn, nil
}

// ClientCredentials returns creds for the client of [Session.ClientOptions].
func (s *Session) ClientCredentials(creds credentials.TransportCredentials) credentials.TransportCredentials {
	return &clientCredentials{creds, s}
}

type clientCredentials struct {
	credentials.TransportCredentials
	session *Session
}

func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	nc, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, nc)
	if err != nil {
		return nil, nil, err
	}
	return newConn(nc, c.session, true), info, nil
}

func (c *clientCredentials) Clone() credentials.TransportCredentials {
	return &clientCredentials{c.TransportCredentials.Clone(), c.session}
}

func newConn(nc net.Conn, s *Session, isClient bool) *conn {
	c := &conn{Conn: nc, isClient: isClient}
	from, u := h2.FromClient, receiving
	if isClient {
		from, u = h2.FromServer, answering
		c.sent.left = len(http2.ClientPreface)
	}
	c.flow = newFlow(s, u, c.sendCredit, c.giveUp)
	if !isClient {
		c.queue = h2.NewScanner(h2.FromServer, h2.Visitor{Payload: c.sentPayload})
	}
	c.received = h2.NewScanner(from, h2.Visitor{Frame: c.receivedFrame, Payload: c.receivedPayload, End: c.receivedEnd})
	return c
}

// addr is the remote address of a conn, which a call finds through it.
type addr struct {
	net.Addr
	conn *conn
}

func (c *conn) RemoteAddr() net.Addr { return addr{c.Conn.RemoteAddr(), c} }

// receivedFrame handles the header of a received frame.
func (c *conn) receivedFrame(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		c.control++ // the call may be refused at once
		c.inBlock = true
		if !c.isClient {
			c.flow.open(h.Stream)
		}
	case http2.FrameData:
		c.flow.receivedFrame(h.Stream, int64(h.Length))
	case http2.FrameRSTStream:
		c.control++
		c.flow.end(h.Stream)
	case http2.FrameSettings, http2.FramePing, http2.FrameWindowUpdate:
		c.control++
	}
}

func (c *conn) receivedPayload(h h2.Header, p []byte) {
	if h.Type == http2.FrameData {
		c.flow.receivedData(h.Stream, p)
	}
}

func (c *conn) sentPayload(h h2.Header, p []byte) {
	if h.Type == http2.FrameData {
		c.flow.sentData(h.Stream, p)
	}
}

func (c *conn) receivedEnd(h h2.Header) {
	c.inBlock = false
	if c.isClient && endsStream(h) {
		c.flow.end(h.Stream)
	}
}

// endsStream reports whether h has the flag END_STREAM.
func endsStream(h h2.Header) bool {
	return (h.Type == http2.FrameHeaders || h.Type == http2.FrameData) && h.Flags.Has(http2.FlagDataEndStream) // the same in both
}

func (c *conn) Read(p []byte) (int, error) {
	for c.ready == 0 {
		if c.control >= maxControl && !c.isClient {
			c.wmu.Lock()
			c.control = 0
			c.wmu.Unlock()
		}
		n, err := c.Conn.Read(p)
		if c.flow.isClosed() { // giveUp is sending the last frames
			if err != nil {
				return 0, err
			}
			continue
		}
		n = c.scan(p[:n])
		if err != nil {
			c.held = c.held[:c.ready] // the rest of the header block won't arrive
		}
		if !c.countHeld() {
			c.held = nil
			c.countHeld()
			return n, errHeaderBlock
		}
		if n > 0 || err != nil && c.ready == 0 { // an error comes again
			return n, err
		}
	}
	n := copy(p, c.held[:c.ready])
	c.held, c.ready = c.held[n:], c.ready-n
	return n, nil
}

// scan scans received bytes. It returns how many of them Read may return now, and holds
// the others.
func (c *conn) scan(p []byte) int {
	boundary := c.received.Scan(p)
	whole := len(p)
	if c.inBlock && c.received.Err() == nil {
		whole = boundary
	}
	if len(c.held) == 0 {
		c.held = append([]byte(nil), p[whole:]...)
		return whole
	}
	if whole > 0 {
		c.ready = len(c.held) + whole
	}
	c.held = append(c.held, p...)
	return 0
}

// countHeld counts the bytes of an incomplete header block. It returns false if the block
// is longer than a call's header list may be, or all blocks of the session's connections
// are longer than its header lists may be.
func (c *conn) countHeld() bool {
	n := int64(len(c.held) - c.ready)
	if n == c.lastHeld {
		return true
	}
	s := c.flow.session
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := p.opts.HeaderList + headerRoom
	if c.closed || n > longest || s.blocks+n-c.counted > max(p.opts.SessionHeaderLists, longest) {
		return false
	}
	s.blocks += n - c.counted
	c.counted, c.lastHeld = n, n
	return true
}

// Write writes frames, but delays the credit that flow delays.
func (c *conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.queue != nil {
		c.queue.Scan(p)
	}
	if err := c.sent.split(p, c.maySend, c.writeAll); err != nil {
		return 0, err
	}
	return len(p), c.flush()
}

// maySend reports whether a frame may be sent now.
func (c *conn) maySend(h h2.Header, increment uint32) bool {
	switch h.Type {
	case http2.FrameWindowUpdate:
		return c.flow.mayGive(h.Stream, int64(increment))
	case http2.FrameRSTStream:
		c.flow.end(h.Stream)
	case http2.FrameHeaders:
		if c.isClient {
			c.flow.open(h.Stream)
		}
	}
	if !c.isClient && endsStream(h) {
		c.flow.end(h.Stream)
	}
	return true
}

func (c *conn) writeAll(p []byte) error {
	_, err := c.Conn.Write(p)
	return err
}

// sendCredit sends frames of flow, once no other frame is incomplete.
func (c *conn) sendCredit(frames []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.credit = append(c.credit, frames...)
	_ = c.flush() // an error ends the next Read as well
}

// flush sends c.credit at a frame boundary. The caller holds wmu.
func (c *conn) flush() error {
	if len(c.credit) == 0 || !c.sent.atBoundary() || c.queue != nil && !c.queue.AtBoundary() { // between the frames of a header block
		return nil
	}
	p := c.credit
	c.credit = nil
	return c.writeAll(p)
}

// giveUpTimeout is the time for the last frames of an aborted connection.
const giveUpTimeout = time.Second

// giveUp sends the last frames and closes the connection.
func (c *conn) giveUp(last []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(giveUpTimeout)) // a Write may be blocked
	c.sendCredit(last)
	_ = c.Close()
}

func (c *conn) Close() error {
	c.flow.close()
	p := c.flow.session.process
	p.mu.Lock()
	c.flow.session.blocks -= c.counted
	c.counted, c.closed = 0, true
	delete(c.flow.session.conns, c)
	p.mu.Unlock()
	return c.Conn.Close()
}
