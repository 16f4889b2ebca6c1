package wsmux

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/ws"
)

// A frame of yamux is a header of 12 bytes (version, type, flags, stream, length)
// and, if it is a data frame, a body of that length.
const (
	yamuxHeaderSize = 12
	yamuxTypeData   = 0
	yamuxTypePing   = 2
	yamuxFlagSYN    = 1 // asks for a reply to a Ping
	yamuxFlagACK    = 2 // replies to a Ping
)

// maxPings is how many Pings of the peer may wait for a reply. hashicorp/yamux starts a
// goroutine for each. The limit must exceed the number of Pings in the 4 KiB that
// hashicorp/yamux reads ahead.
const maxPings = 1024

// yamuxConn is the connection below a session of hashicorp/yamux. It combines the
// header and the body of a data frame, which yamux writes separately, into one message.
// It stops reading while maxPings of the peer's Pings wait for a reply.
type yamuxConn struct {
	*ws.Conn
	closing chan struct{} // closed when the session ends
	pings   chan struct{} // holds a token for each of the peer's Pings that waits for a reply

	pendingHeader []byte // of the data frame whose body the next Write has

	// The frame that is being read.
	header    [yamuxHeaderSize]byte
	headerLen int    // bytes of header that have been read
	remaining uint32 // bytes of the body that haven't been read
}

func newYamuxConn(conn *ws.Conn) *yamuxConn {
	return &yamuxConn{Conn: conn, closing: make(chan struct{}), pings: make(chan struct{}, maxPings)}
}

func (c *yamuxConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.limitPings(p[:n])
	if errors.Is(err, io.EOF) {
		err = io.EOF // hashicorp/yamux compares with ==, and logs other errors
	}
	return n, err
}

// limitPings parses the frames in p. At each Ping, it blocks while maxPings wait for a
// reply.
func (c *yamuxConn) limitPings(p []byte) {
	for len(p) > 0 {
		if c.remaining > 0 {
			n := min(uint32(len(p)), c.remaining) //nolint:gosec // a buffer of hashicorp/yamux
			p, c.remaining = p[n:], c.remaining-n
			continue
		}
		n := copy(c.header[c.headerLen:], p)
		p, c.headerLen = p[n:], c.headerLen+n
		if c.headerLen < yamuxHeaderSize {
			return
		}
		c.headerLen = 0
		if c.header[1] == yamuxTypeData {
			c.remaining = binary.BigEndian.Uint32(c.header[8:])
		}
		if isPing(c.header[:], yamuxFlagSYN) {
			select {
			case c.pings <- struct{}{}:
			case <-c.closing:
			}
		}
	}
}

// isPing reports whether header is the header of a Ping with the given flag.
func isPing(header []byte, flag uint16) bool {
	return header[1] == yamuxTypePing && binary.BigEndian.Uint16(header[2:])&flag != 0
}

// Write is called by one goroutine of hashicorp/yamux, with a whole header or a whole
// body.
func (c *yamuxConn) Write(p []byte) (int, error) {
	header, body := p, []byte(nil)
	switch {
	case len(c.pendingHeader) > 0:
		header, body = c.pendingHeader, p
		c.pendingHeader = c.pendingHeader[:0]
	case p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		c.pendingHeader = append(c.pendingHeader, p...)
		return len(p), nil
	}
	if err := c.WriteFrame(header, body); err != nil {
		return 0, err
	}
	if isPing(header, yamuxFlagACK) {
		select {
		case <-c.pings:
		default:
		}
	}
	return len(p), nil
}

// Close is called by hashicorp/yamux when the session ends.
func (c *yamuxConn) Close() error {
	c.CloseWith(websocket.CloseNormalClosure, "")
	return nil
}
