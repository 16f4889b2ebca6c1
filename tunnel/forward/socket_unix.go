//go:build unix

package forward

import (
	"io"
	"net"
	"os"
	"syscall"
)

// socketWriter writes to a socket without blocking.
type socketWriter struct {
	net     net.Conn // the socket
	conn    syscall.RawConn
	tryOnce func(fd uintptr) (done bool) // the method try, without an allocation for each call

	p   []byte // argument of tryWrite
	n   int    // results of tryWrite
	err error
}

// newSocketWriter returns nil if conn is not a socket.
func newSocketWriter(conn net.Conn) *socketWriter {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	w := &socketWriter{net: conn, conn: raw}
	w.tryOnce = w.try
	return w
}

// tryWrite writes as much of p as fits in the send buffer.
func (w *socketWriter) tryWrite(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	defer func() { w.p = nil }()
	if err := w.conn.Write(w.tryOnce); err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *socketWriter) try(fd uintptr) bool {
	n, err := syscall.Write(int(fd), w.p)
	switch err {
	case nil:
		w.n = n
	case syscall.EAGAIN, syscall.EINTR:
	default:
		w.err = opError("write", w.net, err)
	}
	return true
}

// opError wraps the error of a system call as package net does.
func opError(op string, conn net.Conn, err error) error {
	return &net.OpError{Op: op, Net: conn.LocalAddr().Network(), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// rawConn returns nil if conn is not a socket.
func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// socketReader is a chunkReader of a socket.
type socketReader struct {
	net     net.Conn // the socket
	conn    syscall.RawConn
	tryOnce func(fd uintptr) (done bool)

	size int             // argument of read
	buf  *[maxChunk]byte // results of read
	n    int
	err  error
}

// newSocketReader returns nil if conn is not a socket.
func newSocketReader(conn net.Conn) chunkReader {
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	r := &socketReader{net: conn, conn: raw}
	r.tryOnce = r.try
	return r
}

func (r *socketReader) read(size int) (*[maxChunk]byte, int, error) {
	r.size, r.buf, r.n, r.err = size, nil, 0, nil
	if err := r.conn.Read(r.tryOnce); err != nil {
		return nil, 0, err
	}
	if r.err != nil && r.err != io.EOF { //nolint:errorlint // try sets it
		return r.buf, r.n, opError("read", r.net, r.err)
	}
	return r.buf, r.n, r.err
}

// try reads once. If no data is ready, it frees the buffer and returns false.
func (r *socketReader) try(fd uintptr) bool {
	buf := getBuffer()
	for {
		r.n, r.err = syscall.Read(int(fd), buf[:r.size])
		if r.err != syscall.EINTR { //nolint:errorlint // system calls return nothing else
			break
		}
	}
	switch {
	case r.n > 0:
		r.buf = buf
		return true
	case r.n == 0 && r.err == nil:
		r.err = io.EOF
	}
	r.n = 0
	buffers.Put(buf)
	return r.err != syscall.EAGAIN //nolint:errorlint // as above
}
