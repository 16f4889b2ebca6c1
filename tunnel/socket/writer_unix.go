//go:build unix

package socket

import (
	"net"
	"syscall"
)

// Writer writes to a socket without blocking. Only one goroutine may use it at a time.
type Writer struct {
	net     net.Conn // the socket
	conn    syscall.RawConn
	tryOnce func(fd uintptr) (done bool) // the method try, without an allocation for each call

	p   []byte // argument of TryWrite
	n   int    // results of TryWrite
	err error
}

// NewWriter returns a Writer for conn; nil if conn isn't a socket, or the system isn't Unix.
func NewWriter(conn net.Conn) *Writer {
	raw := Raw(conn)
	if raw == nil {
		return nil
	}
	w := &Writer{net: conn, conn: raw}
	w.tryOnce = w.try
	return w
}

// TryWrite writes as much of p as fits in the send buffer. It returns the number of bytes
// written, and an error as conn.Write does.
func (w *Writer) TryWrite(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	defer func() { w.p = nil }()
	if err := w.conn.Write(w.tryOnce); err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *Writer) try(fd uintptr) bool {
	n, err := syscall.Write(int(fd), w.p)
	switch err {
	case nil:
		w.n = n
	case syscall.EAGAIN, syscall.EINTR:
	default:
		w.err = OpError("write", w.net, err)
	}
	return true
}
