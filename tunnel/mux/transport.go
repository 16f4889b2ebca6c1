package mux

import (
	"io"
	"net"
)

// Transport is the connection below a session, such as a WebSocket.
type Transport interface {
	// Read returns bytes as they arrive. An error that matches io.EOF means that
	// the peer closed the connection in order. Any error ends the session.
	io.Reader

	// WriteFrame sends header and body, either of which may be empty, after all
	// frames written or queued before. It may block, and does so while more than
	// 64 KiB are queued. After an error, Read soon returns an error, too.
	WriteFrame(header, body []byte) error

	// TryWriteFrame is like WriteFrame, except that it never blocks: it returns false, and
	// has sent nothing, if that can't be done without.
	TryWriteFrame(header, body []byte) bool

	// QueueFrame copies header and sends it soon, after all frames written or
	// queued before. It never blocks.
	QueueFrame(header []byte)

	// Queued returns how many bytes are queued.
	Queued() int

	// Close sends the queue and closes the connection within a bounded time, and
	// makes Read and WriteFrame return. reason is why the session ended. Only the
	// first call has an effect.
	Close(reason error)

	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}
