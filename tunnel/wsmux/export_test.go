package wsmux

import (
	"io"

	"github.com/gorilla/websocket"
)

// Gorilla returns the byte stream on ws as gorilla reads it.
func Gorilla(ws *websocket.Conn) io.Reader { return newTransport(ws) }

// Frames returns the byte stream on ws, which nobody has read from, as sessions on
// the accepting side read it.
func Frames(ws *websocket.Conn) io.Reader {
	t := newTransport(ws)
	t.next = newFrameReader(t).NextReader
	return t
}

// Inject sends bytes in yamux's place.
func (s *Session) Inject(p []byte) error { return s.t.send(p, nil) }
