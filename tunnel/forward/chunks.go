package forward

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// minChunk and maxChunk bound the bytes copied at a time. Large chunks are cheap,
	// but on a slow link every other stream waits while one is sent.
	minChunk   = 4 * 1024
	firstChunk = 16 * 1024
	maxChunk   = 256 * 1024

	// Chunks grow while writing one takes no longer than quickWrite, and shrink when
	// it takes slowWrite.
	quickWrite = 5 * time.Millisecond
	slowWrite  = 50 * time.Millisecond
)

// buffers contain chunks. A goroutine takes a buffer only once data is ready, so that
// idle connections need little memory.
var buffers = sync.Pool{New: func() any { return new([maxChunk]byte) }}

func getBuffer() *[maxChunk]byte { return buffers.Get().(*[maxChunk]byte) } //nolint:errcheck // the pool contains nothing else

// copyChunks copies src to dst until src has ended.
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

// chunkReader reads a connection.
type chunkReader interface {
	// read waits until data is ready and only then takes a buffer, which the caller
	// puts back. It reads at most size bytes.
	read(size int) (buf *[maxChunk]byte, n int, err error)
}

func newChunkReader(conn net.Conn) chunkReader {
	if r := newSocketReader(conn); r != nil {
		return r
	}
	return &plainReader{conn: conn}
}

// plainReader reads a connection that isn't a socket. It waits with a small buffer.
type plainReader struct {
	conn  net.Conn
	first [512]byte
}

func (r *plainReader) read(size int) (*[maxChunk]byte, int, error) {
	n, err := r.conn.Read(r.first[:min(size, len(r.first))])
	if n == 0 {
		return nil, 0, err
	}
	buf := getBuffer()
	copy(buf[:], r.first[:n])
	return buf, n, err
}
