package wsmux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/wstun/wstun/tunnel/mux"
)

// recordHandshake is the type of the first TLS record of a client (RFC 8446 §5.1).
const recordHandshake = 0x16

// sealed is the stream below TLS. Its fields are used by Read only.
type sealed struct {
	*Stream
	first       []byte // read by peek
	nonblocking bool   // Read returns os.ErrDeadlineExceeded instead of blocking, which TLS takes for temporary
	failed      bool   // Read has returned an error of the stream
}

// peek waits for the first byte, and reports whether it is that of TLS.
func (s *sealed) peek() (isTLS bool, err error) {
	first := make([]byte, 1)
	if _, err := s.Stream.Read(first); err != nil {
		return false, err
	}
	s.first = first
	return first[0] == recordHandshake, nil
}

func (s *sealed) Read(p []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	if s.nonblocking && s.Buffered() == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := s.Stream.Read(p)
	s.failed = err != nil
	if err == io.EOF { //nolint:errorlint // io.Reader's contract
		if reason := s.Session().Err(); reason != nil {
			return n, fmt.Errorf("session ended: %w", reason)
		}
		s.failed = false
		return n, ErrTruncated // crypto/tls would accept it between two records
	}
	return n, err
}

// plainConn is a stream without TLS whose first bytes have been read.
type plainConn struct {
	*Stream
	first []byte
}

func (c *plainConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Stream.Read(p)
}

// observeMux returns the function that observes streams without TLS.
func (o *Options) observeMux() func(stream uint32, opened bool) *mux.StreamObserver {
	if o.TLS == nil || o.Observe == nil {
		return o.Observe
	}
	return func(stream uint32, opened bool) *mux.StreamObserver {
		if opened && o.TLS.Client != nil || !opened && o.TLS.Server != nil {
			return nil
		}
		return o.Observe(stream, opened)
	}
}

// plainObserver calls an observer with the plaintext of a TLSConn, one call at a time.
type plainObserver struct {
	mu    sync.Mutex
	o     *mux.StreamObserver // nil: none, or the stream has ended
	err   error               // of Read
	peers bool                // Closed was called for the peer's direction
	ours  bool                // for this end's
}

func (ob *plainObserver) call(f func(o *mux.StreamObserver)) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if ob.o != nil {
		f(ob.o)
	}
}

func (ob *plainObserver) received(p []byte) {
	ob.call(func(o *mux.StreamObserver) {
		if o.Received != nil && len(p) > 0 {
			o.Received(p)
		}
	})
}

func (ob *plainObserver) sent(p []byte) {
	ob.call(func(o *mux.StreamObserver) {
		if o.Sent != nil && len(p) > 0 {
			o.Sent(p)
		}
	})
}

// readEnded records the error of Read, which is io.EOF if the peer closed its direction.
func (ob *plainObserver) readEnded(err error) {
	if errors.Is(err, io.EOF) {
		ob.closed(true)
		return
	}
	ob.call(func(*mux.StreamObserver) {
		if ob.err == nil && !errors.Is(err, net.ErrClosed) {
			ob.err = err
		}
	})
}

func (ob *plainObserver) closed(byPeer bool) {
	ob.call(func(o *mux.StreamObserver) {
		called := &ob.ours
		if byPeer {
			called = &ob.peers
		}
		if !*called && o.Closed != nil {
			o.Closed(byPeer)
		}
		*called = true
	})
}

// end ends the observer. err is nil, or net.ErrClosed if this end has reset the stream.
func (ob *plainObserver) end(err error) {
	ob.call(func(o *mux.StreamObserver) {
		switch {
		case errors.Is(ob.err, mux.ErrReset):
			err = mux.ErrReset
		case ob.err != nil:
			err = ob.err
		}
		if o.End != nil {
			o.End(err)
		}
		ob.o = nil
	})
}
