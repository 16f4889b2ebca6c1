package wsmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
)

// handshakeTimeout bounds the TLS handshake in a stream.
const handshakeTimeout = 15 * time.Second

var errHandshakeTimeout = fmt.Errorf("no TLS handshake within %v: %w", handshakeTimeout, os.ErrDeadlineExceeded)

// TLS is for TLS inside each stream, between the two ends of it, also if relays between them
// end the sessions. A relay sees only encrypted bytes then, and neither it nor another
// peer can take the place of the server.
type TLS struct {
	// Client and Server return the configuration for the next stream, of those that this end
	// opens, and of those that the peer opens. Nil: these streams carry no TLS.
	Client, Server func() *tls.Config

	// Plaintext receives a stream that the peer has opened and that doesn't begin with TLS, and
	// closes it. It runs in a goroutine of its own. Default: the handshake fails.
	Plaintext func(stream Conn)

	// Opened is called after the handshake in a stream, and Failed with the *TLSError when the
	// TLS in a stream fails, then or later. Calls may overlap. Default: they aren't called.
	Opened func(stream *Stream, state tls.ConnectionState)
	Failed func(stream *Stream, err error)
}

// Conn is a stream, or TLS in a stream. With TLS, CloseWrite and Close may block for up to
// five seconds if the peer doesn't read.
type Conn interface {
	net.Conn

	// These methods are those of [Stream].
	CloseWrite() error
	AfterAbort(f func())
	Reset() error
	ID() uint32
	Session() *mux.Session
}

// TLSError means that the TLS in a stream failed: at the handshake, or later because the peer
// refuses the client's certificate, or the bytes were changed or cut off between the ends.
type TLSError struct {
	Name      string // of the server, at the client; "" at the server
	Handshake bool   // it failed during the handshake of this end
	Err       error
}

func (e *TLSError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("inner TLS: %v", e.Err)
	}
	return fmt.Sprintf("inner TLS with %s: %v", e.Name, e.Err)
}

func (e *TLSError) Unwrap() error { return e.Err }

// ErrTruncated means that a stream ended before the peer had closed the TLS in it.
var ErrTruncated = errors.New("the connection was cut off before its end")

// Connect opens a stream, and completes the client's TLS handshake in it if the session has
// [Options.TLS]. An error of the handshake is a *TLSError. The caller closes the Conn.
func (s *Session) Connect(ctx context.Context) (Conn, error) {
	stream, err := s.Open(ctx)
	if err != nil {
		return nil, err
	}
	return s.StartTLS(ctx, stream)
}

// StartTLS completes the client's TLS handshake in a stream that Open has returned. Without
// [Options.TLS], it returns the stream. It closes the stream if it fails, with a *TLSError.
func (s *Session) StartTLS(ctx context.Context, stream *Stream) (Conn, error) {
	if s.tls == nil || s.tls.Client == nil {
		return stream, nil
	}
	c, err := s.tls.Start(ctx, stream, s.observer(ctx, stream, true))
	if err != nil { // not a nil *TLSConn in a Conn
		return nil, err
	}
	return c, nil
}

// observer returns the observer of a stream with TLS, or nil.
func (s *Session) observer(ctx context.Context, stream *Stream, opened bool) *mux.StreamObserver {
	if s.observe == nil || mux.IsUnobserved(ctx) {
		return nil
	}
	return s.observe(stream.ID(), opened)
}

// AcceptEach calls f with each stream that the peer opens, until s ends or its Shutdown
// begins. With [Options.TLS], f is called after the handshake, in a goroutine of its own, and
// handshakes that aren't complete at the end of AcceptEach are given up.
func (s *Session) AcceptEach(f func(Conn)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		stream, err := s.Accept()
		switch {
		case err != nil:
			return
		case s.tls == nil || s.tls.Server == nil:
			f(stream)
		default:
			go s.acceptTLS(ctx, stream, f)
		}
	}
}

// acceptTLS completes the server's handshake in a stream that the peer has opened, and calls f.
func (s *Session) acceptTLS(ctx context.Context, stream *Stream, f func(Conn)) {
	raw := &sealed{Stream: stream}
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errHandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset() })
	isTLS, err := raw.peek()
	switch {
	case !stop(), err != nil:
		_ = stream.Reset()
		return
	case !isTLS && s.tls.Plaintext != nil:
		s.tls.Plaintext(&plainConn{stream, raw.first})
		return
	}
	if c, err := s.tls.handshake(ctx, raw, tls.Server(raw, s.tls.Server()), ""); err == nil {
		c.observer.o = s.observer(ctx, stream, false)
		f(c)
	}
}

// Start completes the client's handshake in stream. If the server has asked for a
// certificate, Start also waits for its verdict on that. It closes the stream if it fails. The
// observer receives the plaintext; it may be nil.
func (t *TLS) Start(ctx context.Context, stream *Stream, observer *mux.StreamObserver) (*TLSConn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errHandshakeTimeout)
	defer cancel()
	raw := &sealed{Stream: stream}
	v := &verdict{raw: raw}
	config := v.configure(t.Client())
	c, err := t.handshake(ctx, raw, tls.Client(raw, config), config.ServerName)
	if err != nil {
		return nil, err
	}
	if v.due {
		if c.first, err = v.await(c.Conn); err != nil {
			return nil, t.failed(c.Conn, raw, config.ServerName, err)
		}
	}
	c.observer.o = observer
	return c, nil
}

// handshake completes the handshake of conn, on raw. name is that of the server, at the client.
func (t *TLS) handshake(ctx context.Context, raw *sealed, conn *tls.Conn, name string) (*TLSConn, error) {
	err := conn.HandshakeContext(ctx)
	switch {
	case err == nil:
		if t.Opened != nil {
			t.Opened(raw.Stream, conn.ConnectionState())
		}
		return &TLSConn{Conn: conn, tls: t, raw: raw, name: name}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = context.Cause(ctx)
	}
	return nil, t.failed(conn, raw, name, err)
}

// failed closes conn, whose handshake failed with err, and returns the error for the caller.
func (t *TLS) failed(conn *tls.Conn, raw *sealed, name string, err error) error {
	_ = conn.Close()
	reason := raw.Session().Err()
	switch {
	case raw.failed && reason != nil:
		return fmt.Errorf("session ended: %w", reason)
	case raw.failed && name == "": // the client has gone
		return err
	}
	err = &TLSError{name, true, err}
	t.fail(raw.Stream, err)
	return err
}

func (t *TLS) fail(stream *Stream, err error) {
	if t.Failed != nil {
		t.Failed(stream, err)
	}
}

// TLSConn is TLS in a stream.
type TLSConn struct {
	*tls.Conn
	tls      *TLS
	raw      *sealed
	name     string // of the server, at the client
	first    []byte // read by verdict.await; used by Read only, like readErr
	readErr  error
	observer plainObserver
}

// AfterAbort is that of [Stream].
func (c *TLSConn) AfterAbort(f func()) { c.raw.AfterAbort(f) }

// ID returns the stream's ID.
func (c *TLSConn) ID() uint32 { return c.raw.ID() }

// Session returns the session that the stream is on.
func (c *TLSConn) Session() *mux.Session { return c.raw.Session() }

func (c *TLSConn) Read(p []byte) (int, error) {
	n := copy(p, c.first)
	c.first = c.first[n:]
	var err error
	if n == 0 {
		n, err = c.Conn.Read(p)
	}
	c.observer.received(p[:n])
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	if c.readErr == nil {
		c.readErr = err
		if err != io.EOF && !c.raw.failed { //nolint:errorlint // io.Reader's contract
			c.readErr = &TLSError{c.name, false, err}
			c.tls.fail(c.raw.Stream, c.readErr)
		}
		c.observer.readEnded(c.readErr)
	}
	return n, c.readErr
}

// ReadBuffered reads, after a Read, bytes that have arrived, without blocking. It reads whole
// TLS records, and returns 0 if there are none.
func (c *TLSConn) ReadBuffered(p []byte) (n int) {
	c.raw.nonblocking = true
	defer func() { c.raw.nonblocking = false }()
	for n < len(p) {
		k, err := c.Conn.Read(p[n:])
		n += k
		if err != nil { // the next Read returns it unless it is errWouldBlock
			break
		}
	}
	c.observer.received(p[:n])
	return n
}

func (c *TLSConn) Write(p []byte) (int, error) {
	c.observer.sent(p)
	return c.Conn.Write(p)
}

// CloseWrite closes this end's direction, as [Stream.CloseWrite] does.
func (c *TLSConn) CloseWrite() error {
	err := c.Conn.CloseWrite()
	c.observer.closed(false)
	return errors.Join(err, c.raw.CloseWrite())
}

// Reset closes the stream, as [Stream.Reset] does.
func (c *TLSConn) Reset() error {
	err := c.raw.Reset()
	c.observer.end(net.ErrClosed)
	return err
}

// Close closes both directions.
func (c *TLSConn) Close() error {
	err := c.Conn.Close()
	c.observer.end(nil)
	return err
}
