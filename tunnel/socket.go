package tunnel

import (
	"crypto/tls"
	"net"
	"syscall"
)

// maxUnsent bounds how many unsent bytes the kernel queues, because all streams share
// that queue. Otherwise it can grow to megabytes, half a minute on a slow link. With the
// limit, bytes wait in their streams, which yamux serves in turn.
const maxUnsent = 64 * 1024

// limitUnsent sets maxUnsent on the socket below conn, if the system supports it.
func limitUnsent(conn net.Conn) {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err == nil {
				_ = raw.Control(setMaxUnsent) // optional
			}
			return
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn }) // such as *tls.Conn
		if !ok {
			return
		}
		conn = wrapped.NetConn()
	}
}

// belowTLS returns the connection below conn if that is a TLS connection, and otherwise
// conn. Closing it is faster: tls.Conn.Close may spend five seconds on sending an alert.
func belowTLS(conn net.Conn) net.Conn {
	conn = withoutHead(conn)
	if tc, ok := conn.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return conn
}

// withoutHead returns the connection of a headConn.
func withoutHead(conn net.Conn) net.Conn {
	if hc, ok := conn.(*headConn); ok {
		return hc.Conn
	}
	return conn
}
