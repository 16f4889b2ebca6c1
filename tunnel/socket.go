package tunnel

import (
	"net"
	"syscall"
)

// maxUnsent is how many bytes the kernel may hold that it can't send yet. What
// waits there is a queue that every call has to stand in, and it can grow to
// megabytes: half a minute on a slow link. Here it stays with the streams,
// where yamux lets each take its turn.
const maxUnsent = 64 * 1024

// limitUnsent bounds the queue of the socket under conn, where the system can.
func limitUnsent(conn net.Conn) {
	for {
		if sc, ok := conn.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			if err == nil {
				_ = raw.Control(setMaxUnsent) // without it everything works, slower
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
