package wsmux

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// BatchRecords returns conn as one to run TLS on, below the WebSocket of a
// session: what TLS cuts a message into, records of 16 KiB, then leaves in one
// system call, and several come in one. It is conn in all other respects.
func BatchRecords(conn net.Conn) net.Conn {
	return &batchConn{Conn: conn, in: bufio.NewReaderSize(conn, recordBuffer)}
}

// recordBuffer is how much is read at a time, in bytes.
const recordBuffer = 64 * 1024

// batchConn holds back what is written between begin and end, and reads ahead.
type batchConn struct {
	net.Conn

	in *bufio.Reader // the one who reads guards it

	mu       sync.Mutex
	batching bool
	held     []byte
}

// batchBelow returns the batchConn that conn's TLS runs on, or nil.
func batchBelow(conn net.Conn) *batchConn {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	for conn = secure.NetConn(); ; {
		if c, ok := conn.(*batchConn); ok {
			return c
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapped.NetConn()
	}
}

// NetConn returns the connection itself.
func (c *batchConn) NetConn() net.Conn { return c.Conn }

func (c *batchConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// readable reports whether something has been read ahead. c may be nil.
func (c *batchConn) readable() bool { return c != nil && c.in.Buffered() > 0 }

func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.batching {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

func (c *batchConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = true
	c.held = batches.Get().([]byte)[:0] //nolint:errcheck,forcetypeassert // nothing else is in there
}

// end sends what is held; renew is that of whileMoving.
func (c *batchConn) end(renew func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = false
	err := writeAll(c.Conn, c.held, renew)
	batches.Put(c.held) //nolint:staticcheck // it is small beside what it is for
	c.held = nil
	return err
}

var batches = sync.Pool{New: func() any { return []byte(nil) }}
