package tap

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
)

const (
	// The buffer of a direction in which little is sent, and that of a busy one, in bytes.
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10

	// drainTimeout is how long the bytes of a side that has reset the connection may
	// take to reach the other side.
	drainTimeout = 5 * time.Second
)

// buffers are for busy directions, so that idle sessions use little memory.
var buffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// run relays until both directions have ended.
func (s *Session) run() {
	var wg sync.WaitGroup
	wg.Go(func() { s.copy(s.accepting, s.dialing, "dialing side", &s.in, s.relay.Dialing) })
	wg.Go(func() { s.copy(s.dialing, s.accepting, "accepting side", &s.out, s.relay.Accepting) })
	wg.Wait()
	if s.isBroken.Load() {
		s.relay.Lost("the connection was reset")
		abort(s.dialing)
		abort(s.accepting)
	}
}

// copy relays the bytes of one side, which count counts, and trace receives before they are
// written. It ends dst as src has ended: with a FIN, or with a RST.
func (s *Session) copy(dst, src net.Conn, side string, count *atomic.Int64, trace func(p []byte)) {
	small := make([]byte, smallBuffer)
	buf, large := small, (*[largeBuffer]byte)(nil)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			count.Add(int64(n))
			trace(buf[:n])
			if _, werr := dst.Write(buf[:n]); werr != nil {
				s.isBroken.Store(true)
				// dst has been reset. The bytes that it sent before, such as a Close
				// frame, still reach src, which the other direction then resets.
				deadline := time.Now().Add(drainTimeout)
				_ = dst.SetReadDeadline(deadline)
				_ = src.SetWriteDeadline(deadline)
				return
			}
		}
		switch {
		case large == nil && n == len(small):
			large = buffers.Get().(*[largeBuffer]byte) //nolint:errcheck // the pool contains nothing else
			buf = large[:]
		case large != nil && n < len(small):
			buffers.Put(large)
			buf, large = small, nil
		}
		if err == nil {
			continue
		}
		isReset := s.isBroken.Load() || !errors.Is(err, io.EOF)
		s.relay.Lost(s.reason(side, err))
		if isReset {
			abort(dst)
		} else {
			closeWrite(dst)
		}
		return
	}
}

// reason says why a side has ended, from the error of reading from it.
func (s *Session) reason(side string, err error) string {
	switch {
	case errors.Is(err, net.ErrClosed):
		return "the tap was stopped" // unless the other direction has given a reason
	case s.isBroken.Load(), netdiag.Is(err, syscall.ECONNRESET):
		return "the " + side + " reset the connection"
	case errors.Is(err, io.EOF):
		return "the " + side + " closed the connection"
	}
	return "the connection to the " + side + " failed: " + netdiag.Cause(err).Error()
}

// close closes both connections.
func (s *Session) close() {
	_ = s.dialing.Close()
	_ = s.accepting.Close()
}

// closeWrite closes the writing direction of conn, and of TLS in it.
func closeWrite(conn net.Conn) {
	if secure, ok := socket[*tls.Conn](conn); ok {
		_ = secure.CloseWrite()
	}
	if c, ok := socket[interface{ CloseWrite() error }](belowTLS(conn)); ok {
		_ = c.CloseWrite()
	} else {
		_ = conn.Close()
	}
}

// abort closes conn with a RST.
func abort(conn net.Conn) {
	if c, ok := socket[*net.TCPConn](conn); ok {
		_ = c.SetLinger(0)
	}
	_ = belowTLS(conn).Close()
}

// belowTLS returns the connection below conn if that is a TLS connection, and otherwise
// conn.
func belowTLS(conn net.Conn) net.Conn {
	if secure, ok := socket[*tls.Conn](conn); ok {
		return secure.NetConn()
	}
	return conn
}

// socket returns conn, or the first of the connections below it, that is a T.
func socket[T any](conn net.Conn) (T, bool) {
	for {
		if c, ok := conn.(T); ok {
			return c, true
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn }) // such as *tls.Conn
		if !ok {
			var none T
			return none, false
		}
		conn = wrapped.NetConn()
	}
}
