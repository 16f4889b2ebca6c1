package ws

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// BatchRecords returns conn as a connection to run TLS on, below a WebSocket. TLS
// cuts a message into records of 16 KiB; with BatchRecords they leave in one
// system call, and several arrive in one. Otherwise it behaves as conn does.
func BatchRecords(conn net.Conn) net.Conn {
	return &recordsConn{Conn: conn, in: bufio.NewReaderSize(conn, recordsBuffer)}
}

// recordsBuffer is how many bytes are read at a time.
const recordsBuffer = 64 * 1024

// recordsConn holds back what is written between begin and end, and reads ahead.
type recordsConn struct {
	net.Conn

	in *bufio.Reader // used by the one reader

	mu       sync.Mutex
	batching bool
	pending  []byte
}

// recordsBelow returns the recordsConn that the TLS connection conn runs on, or
// nil.
func recordsBelow(conn net.Conn) *recordsConn {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	for conn = secure.NetConn(); ; {
		if c, ok := conn.(*recordsConn); ok {
			return c
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapped.NetConn()
	}
}

// NetConn returns the connection below.
func (c *recordsConn) NetConn() net.Conn { return c.Conn }

func (c *recordsConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// readable reports whether bytes have been read ahead. c may be nil.
func (c *recordsConn) readable() bool { return c != nil && c.in.Buffered() > 0 }

func (c *recordsConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.batching {
		return c.Conn.Write(p)
	}
	c.pending = append(c.pending, p...)
	return len(p), nil
}

func (c *recordsConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = true
	c.pending = batches.Get().([]byte)[:0] //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

// end sends what was held back; see whileMoving for renew.
func (c *recordsConn) end(renew func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = false
	err := writeAll(c.Conn, c.pending, renew)
	batches.Put(c.pending) //nolint:staticcheck // boxing the slice is cheap beside its contents
	c.pending = nil
	return err
}

var batches = sync.Pool{New: func() any { return []byte(nil) }}
