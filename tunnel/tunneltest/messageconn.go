package tunneltest

import (
	"errors"
	"io"

	"github.com/gorilla/websocket"
)

// MessageConn is a minimal byte stream on a WebSocket, as another implementation might have
// it: each Write is one message.
type MessageConn struct {
	*websocket.Conn
	r io.Reader
}

// Read implements io.Reader.
func (c *MessageConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) {
			c.r, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Write implements io.Writer.
func (c *MessageConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
