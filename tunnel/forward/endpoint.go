package forward

import (
	"net"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/socket"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// endpoint is one of the two connections of a flow.
type endpoint interface {
	net.Conn
	mux.TryWriter

	// CloseWrite closes the writing direction. An error means that the peer has
	// already closed the connection.
	CloseWrite() error

	// forward copies the peer's bytes to w until the peer's direction ends, and then
	// calls ended, with nil if it ended in order. A non-nil run does all that when
	// the caller runs it. If run is nil, it happens in the background.
	forward(w mux.TryWriter, ended func(error)) (run func())

	// abort closes the connection with a reset, so that the peer sees an error.
	abort()

	// streamID returns the number of the yamux stream, or 0 for a socket.
	streamID() uint32

	// sessionDone and sessionErr are Done and Err of a stream's session. They return
	// nil for a socket.
	sessionDone() <-chan struct{}
	sessionErr() error
}

// socketEndpoint is a socket, or another connection that isn't a stream.
type socketEndpoint struct {
	net.Conn
	writer *socket.Writer // nil if non-blocking writes aren't supported
}

func newSocketEndpoint(conn net.Conn) *socketEndpoint {
	return &socketEndpoint{Conn: conn, writer: socket.NewWriter(conn)}
}

func (e *socketEndpoint) TryWrite(p []byte) (int, error) {
	if e.writer == nil {
		return 0, nil
	}
	return e.writer.TryWrite(p)
}

func (e *socketEndpoint) CloseWrite() error {
	if conn, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return nil
}

func (e *socketEndpoint) forward(w mux.TryWriter, ended func(error)) (run func()) {
	return func() { ended(copyChunks(w, newChunkReader(e.Conn))) }
}

func (e *socketEndpoint) abort() {
	if conn, ok := e.Conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = e.Close()
}

func (e *socketEndpoint) streamID() uint32             { return 0 }
func (e *socketEndpoint) sessionDone() <-chan struct{} { return nil }
func (e *socketEndpoint) sessionErr() error            { return nil }

// connEndpoint returns the endpoint of a stream, or of TLS in one.
func connEndpoint(c wsmux.Conn) endpoint {
	if stream, ok := c.(*wsmux.Stream); ok {
		return streamEndpoint{stream}
	}
	return tlsEndpoint{c}
}

// tlsEndpoint is TLS in a stream of a session. Unlike a streamEndpoint, it needs a goroutine.
type tlsEndpoint struct{ wsmux.Conn }

// TryWrite writes nothing, because TLS has no non-blocking write.
func (e tlsEndpoint) TryWrite([]byte) (int, error) { return 0, nil }

func (e tlsEndpoint) forward(w mux.TryWriter, ended func(error)) (run func()) {
	if a, ok := w.(mux.Aborter); ok {
		e.AfterAbort(a.Abort) // also of a Write that blocks
	}
	return func() { ended(copyChunks(w, newChunkReader(e.Conn))) }
}

func (e tlsEndpoint) abort() {
	_ = e.Reset()
	_ = e.Close()
}

func (e tlsEndpoint) streamID() uint32             { return e.ID() }
func (e tlsEndpoint) sessionDone() <-chan struct{} { return e.Session().Done() }
func (e tlsEndpoint) sessionErr() error            { return e.Session().Err() }

// streamEndpoint is a stream of a session.
type streamEndpoint struct{ *wsmux.Stream }

// TryWrite writes nothing: the TryWrite of a stream is for relays, on the accepting side.
func (e streamEndpoint) TryWrite([]byte) (int, error) { return 0, nil }

func (e streamEndpoint) forward(w mux.TryWriter, ended func(error)) (run func()) {
	e.ForwardTo(w, ended)
	return nil
}

func (e streamEndpoint) abort() {
	_ = e.Reset()
	_ = e.Close()
}

func (e streamEndpoint) streamID() uint32             { return e.ID() }
func (e streamEndpoint) sessionDone() <-chan struct{} { return e.Session().Done() }
func (e streamEndpoint) sessionErr() error            { return e.Session().Err() }
