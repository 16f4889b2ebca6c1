//go:build unix

package forward

import (
	"io"
	"net"
	"syscall"

	"github.com/wstun/wstun/tunnel/socket"
)

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
	raw := socket.Raw(conn)
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
		return r.buf, r.n, socket.OpError("read", r.net, r.err)
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
