package ws

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// BatchRecords wraps conn for use below TLS, below a WebSocket. TLS splits a message
// into records of 16 KiB; on the wrapped connection, one system call writes or reads
// several of them.
func BatchRecords(conn net.Conn) net.Conn {
	return &recordsConn{Conn: conn, in: bufio.NewReaderSize(conn, recordsBuffer)}
}

// recordsBuffer is the size of the read buffer in bytes.
const recordsBuffer = 64 * 1024

// recordsConn buffers reads, and writes between beginBatch and endBatch.
type recordsConn struct {
	net.Conn

	in *bufio.Reader // used by the reading goroutine only

	mu       sync.Mutex
	batching bool
	pending  []byte
}

// recordsBelow returns the recordsConn below the TLS connection in conn, or nil if there
// is none.
func recordsBelow(conn net.Conn) *recordsConn {
	secure := unwrap[*tls.Conn](conn)
	if secure == nil {
		return nil
	}
	return unwrap[*recordsConn](secure.NetConn())
}

// unwrap returns conn if it is a T, or else the first T that it wraps, or else nil. A
// wrapper has the method NetConn.
func unwrap[T net.Conn](conn net.Conn) (found T) {
	for {
		if c, ok := conn.(T); ok {
			return c
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return found
		}
		conn = wrapper.NetConn()
	}
}

// NetConn returns the wrapped connection.
func (c *recordsConn) NetConn() net.Conn { return c.Conn }

func (c *recordsConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// hasBuffered reports whether Read returns bytes without a system call. c may be nil.
func (c *recordsConn) hasBuffered() bool { return c != nil && c.in.Buffered() > 0 }

func (c *recordsConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.batching {
		return c.Conn.Write(p)
	}
	c.pending = append(c.pending, p...)
	return len(p), nil
}

func (c *recordsConn) beginBatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = true
	c.pending = batchPool.Get().([]byte)[:0] //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

// endBatch writes the batch; see retryWhileProgress for renew.
func (c *recordsConn) endBatch(renew func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batching = false
	err := writeAll(c.Conn, c.pending, renew)
	batchPool.Put(c.pending) //nolint:staticcheck // the allocation is small compared to the slice
	c.pending = nil
	return err
}

var batchPool = sync.Pool{New: func() any { return []byte(nil) }}
