package forward

import (
	"net"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// end is one of the two connections of a flow.
type end interface {
	net.Conn
	mux.TryWriter

	// CloseWrite ends the writing direction. An error means that the peer has
	// closed the connection already.
	CloseWrite() error

	// forward writes the bytes of the peer to w until the peer's direction has
	// ended, and then calls ended: with nil at its orderly end. The returned
	// function does that, and blocks. If it is nil, another goroutine does.
	forward(w mux.TryWriter, ended func(error)) (run func())

	// abort closes the connection with a reset: the peer must not take it for an
	// orderly end.
	abort()

	// sessionDone returns a channel that is closed when the session of a stream has
	// ended, and sessionErr the reason. Both are nil for a socket.
	sessionDone() <-chan struct{}
	sessionErr() error
}

// socketEnd is an end that is a socket, or another connection outside of sessions.
type socketEnd struct {
	net.Conn
	writer *socketWriter // nil if the connection can't be written without blocking
}

func newSocketEnd(conn net.Conn) *socketEnd {
	return &socketEnd{Conn: conn, writer: newSocketWriter(conn)}
}

func (e *socketEnd) TryWrite(p []byte) (int, error) {
	if e.writer == nil {
		return 0, nil
	}
	return e.writer.tryWrite(p)
}

func (e *socketEnd) CloseWrite() error {
	if conn, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return nil
}

func (e *socketEnd) forward(w mux.TryWriter, ended func(error)) (run func()) {
	return func() { ended(copyChunks(w, newChunkReader(e.Conn))) }
}

func (e *socketEnd) abort() {
	if conn, ok := e.Conn.(*net.TCPConn); ok {
		_ = conn.SetLinger(0)
	}
	_ = e.Close()
}

func (e *socketEnd) sessionDone() <-chan struct{} { return nil }
func (e *socketEnd) sessionErr() error            { return nil }

// streamEnd is an end that is a stream of a session.
type streamEnd struct{ *wsmux.Stream }

// TryWrite writes nothing: a stream can't be written without blocking.
func (e streamEnd) TryWrite([]byte) (int, error) { return 0, nil }

func (e streamEnd) forward(w mux.TryWriter, ended func(error)) (run func()) {
	e.ForwardTo(w, ended)
	return nil
}

func (e streamEnd) abort() {
	_ = e.Reset()
	_ = e.Close()
}

func (e streamEnd) sessionDone() <-chan struct{} { return e.Session().Done() }
func (e streamEnd) sessionErr() error            { return e.Session().Err() }
