package forward

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// The sizes in bytes of one read and write. Large chunks are cheaper, but on a
	// slow link all other streams wait while one is sent.
	minChunk   = 4 * 1024
	firstChunk = 16 * 1024
	maxChunk   = 256 * 1024

	// The chunk size doubles after a write that took at most quickWrite, and halves
	// after one that took at least slowWrite.
	quickWrite = 5 * time.Millisecond
	slowWrite  = 50 * time.Millisecond
)

// buffers are for chunks. A goroutine takes a buffer only once data is ready, so idle
// connections use little memory.
var buffers = sync.Pool{New: func() any { return new([maxChunk]byte) }}

func getBuffer() *[maxChunk]byte { return buffers.Get().(*[maxChunk]byte) } //nolint:errcheck // the pool contains nothing else

// copyChunks copies src to dst. It returns nil when src returns io.EOF.
func copyChunks(dst io.Writer, src chunkReader) error {
	size := firstChunk
	for {
		buf, n, err := src.read(size)
		if n > 0 {
			started := time.Now()
			_, werr := dst.Write(buf[:n])
			took := time.Since(started)
			switch {
			case werr != nil:
				err = werr
			case took >= slowWrite:
				size = max(size/2, minChunk)
			case took <= quickWrite && n == size:
				size = min(2*size, maxChunk)
			}
		}
		if buf != nil {
			buffers.Put(buf)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// chunkReader reads a connection without a buffer while it waits.
type chunkReader interface {
	// read waits until data is ready, takes a buffer, and reads at most size bytes.
	// The caller returns buf to buffers unless it is nil.
	read(size int) (buf *[maxChunk]byte, n int, err error)
}

func newChunkReader(conn net.Conn) chunkReader {
	if r := newSocketReader(conn); r != nil {
		return r
	}
	return &connReader{conn: conn}
}

// connReader is the chunkReader of a connection that isn't a socket. It waits with a
// small buffer.
type connReader struct {
	conn  net.Conn
	first [512]byte
}

func (r *connReader) read(size int) (*[maxChunk]byte, int, error) {
	n, err := r.conn.Read(r.first[:min(size, len(r.first))])
	if n == 0 {
		return nil, 0, err
	}
	buf := getBuffer()
	copy(buf[:], r.first[:n])
	if more, ok := r.conn.(interface{ ReadBuffered(p []byte) int }); ok && err == nil {
		n += more.ReadBuffered(buf[n:size])
	}
	return buf, n, err
}
