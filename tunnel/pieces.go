package tunnel

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
)

const (
	// leastPiece and mostPiece bound what is copied at a time. Large pieces are
	// cheap, but on a slow link they are a long queue for everybody else.
	leastPiece = 4 * 1024
	firstPiece = 16 * 1024
	mostPiece  = 256 * 1024

	// quickPiece is what passing on a piece takes at the most where larger ones
	// do no harm, slowPiece what it takes where smaller ones are better.
	quickPiece = 5 * time.Millisecond
	slowPiece  = 50 * time.Millisecond
)

// buffers are for the pieces that are being passed on: who waits for one has no
// buffer, so that idle connections cost little.
var buffers = sync.Pool{New: func() any { return new([mostPiece]byte) }}

func getBuffer() *[mostPiece]byte { return buffers.Get().(*[mostPiece]byte) } //nolint:errcheck // nothing else is in there

// copyPieces writes what src has to dst until it ends.
func copyPieces(dst io.Writer, src pieceReader) error {
	size := firstPiece
	for {
		buf, n, err := src.read(size)
		if n > 0 {
			started := time.Now()
			_, werr := dst.Write(buf[:n])
			took := time.Since(started)
			switch {
			case werr != nil:
				err = werr
			case took >= slowPiece:
				size = max(size/2, leastPiece)
			case took <= quickPiece && n == size:
				size = min(2*size, mostPiece)
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

// stream is a *wsmux.Stream, maybe of a listener.
type stream interface {
	net.Conn
	ForwardTo(w mux.TryWriter, ended func(error))
	Reset() error
	Session() *mux.Session
}

// pieceReader reads a connection.
type pieceReader interface {
	// read waits until there is something to read, and only then takes a
	// buffer, which the caller puts back. It reads size bytes at the most.
	read(size int) (buf *[mostPiece]byte, n int, err error)
}

func newPieceReader(conn net.Conn) pieceReader {
	if r := newSocketReader(conn); r != nil {
		return r
	}
	return &plainReader{conn: conn}
}

// plainReader reads what can't be waited for without a buffer: it waits with a
// small one.
type plainReader struct {
	conn  net.Conn
	first [512]byte
}

func (r *plainReader) read(size int) (*[mostPiece]byte, int, error) {
	n, err := r.conn.Read(r.first[:min(size, len(r.first))])
	if n == 0 {
		return nil, 0, err
	}
	buf := getBuffer()
	copy(buf[:], r.first[:n])
	return buf, n, err
}
