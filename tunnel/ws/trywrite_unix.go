//go:build unix

package ws

import (
	"net"
	"os"
	"syscall"
)

// tryWriter writes to a socket without blocking.
type tryWriter struct {
	conn    syscall.RawConn
	tryOnce func(fd uintptr) (done bool) // the method try, without an allocation for each call

	p   []byte // argument of write
	n   int    // results of write
	err error
}

// newTryWriter returns nil if conn is not a socket.
func newTryWriter(conn net.Conn) *tryWriter {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &tryWriter{conn: raw}
	w.tryOnce = w.try
	return w
}

// write writes as much of p as fits in the send buffer.
func (w *tryWriter) write(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	defer func() { w.p = nil }()
	if err := w.conn.Write(w.tryOnce); err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *tryWriter) try(fd uintptr) bool {
	n, err := syscall.Write(int(fd), w.p)
	switch err {
	case nil:
		w.n = n
	case syscall.EAGAIN, syscall.EINTR:
	default:
		w.err = os.NewSyscallError("write", err)
	}
	return true
}
