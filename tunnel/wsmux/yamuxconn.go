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

// maxPings is how many Pings of the peer may wait for their reply: hashicorp/yamux
// starts a goroutine for each. It is well above what fits in the 4 KiB that
// hashicorp/yamux reads ahead.
const maxPings = 1024

// yamuxConn is the connection below a session of hashicorp/yamux. It joins the
// header and the body of a data frame, which arrive in two Writes, into one
// message, and reads nothing while too many Pings wait for their reply.
type yamuxConn struct {
	*ws.Conn
	closing chan struct{}
	pings   chan struct{} // holds a token for each Ping that waits for its reply

	sentHeader []byte // of the data frame whose body is written next

	header    [yamuxHeaderSize]byte // of the frame that is being read
	have      int                   // bytes of it
	remaining uint32                // bytes of the body that is being read
}

func newYamuxConn(conn *ws.Conn) *yamuxConn {
	return &yamuxConn{Conn: conn, closing: make(chan struct{}), pings: make(chan struct{}, maxPings)}
}

func (c *yamuxConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.limitPings(p[:n])
	if errors.Is(err, io.EOF) {
		err = io.EOF // hashicorp/yamux logs any other error
	}
	return n, err
}

// limitPings follows the frames in p and blocks when they contain a Ping too many.
func (c *yamuxConn) limitPings(p []byte) {
	for len(p) > 0 {
		if c.remaining > 0 {
			n := min(uint32(len(p)), c.remaining) //nolint:gosec // a buffer of hashicorp/yamux
			p, c.remaining = p[n:], c.remaining-n
			continue
		}
		n := copy(c.header[c.have:], p)
		p, c.have = p[n:], c.have+n
		if c.have < yamuxHeaderSize {
			return
		}
		c.have = 0
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

// isPing reports whether header is that of a Ping with flag.
func isPing(header []byte, flag uint16) bool {
	return header[1] == yamuxTypePing && binary.BigEndian.Uint16(header[2:])&flag != 0
}

// Write is called by one goroutine, with a header or with a body.
func (c *yamuxConn) Write(p []byte) (int, error) {
	header, body := p, []byte(nil)
	switch {
	case len(c.sentHeader) > 0:
		header, body = c.sentHeader, p
		c.sentHeader = c.sentHeader[:0]
	case p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		c.sentHeader = append(c.sentHeader, p...)
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
