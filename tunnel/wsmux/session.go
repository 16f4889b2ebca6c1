package wsmux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/ws"
)

const (
	// writeTimeout is how long the socket may take nothing of what is being
	// sent.
	writeTimeout = 60 * time.Second

	// maxStreams is how many streams of a session the peer may have open. Each
	// costs a gRPC server a goroutine and a buffer.
	maxStreams = 16384
)

// Role is the yamux role of one end of a session. The two ends must differ.
type Role = mux.Role

// The gRPC client is the yamux client and the gRPC server the yamux server,
// unless a deployment has it the other way round.
const (
	Client = mux.Client
	Server = mux.Server
)

// Side is the side of a WebSocket that this end is.
type Side = ws.Side

// A websocket.Dialer makes the dialing side, a websocket.Upgrader the accepting
// side.
const (
	Dialing   = ws.Dialing
	Accepting = ws.Accepting
)

// Stream is one yamux stream: a [net.Conn] whose two directions end separately.
type Stream = mux.Stream

// Options adjusts a session. Its zero value and nil mean the defaults.
type Options struct {
	// Window is the receive window of each stream in bytes, at least 256 KiB.
	// Default: windows start at that size and grow to 1 MiB, or up to 16 MiB on
	// a long link, as the link can use it.
	Window uint32

	// PingInterval is how often a WebSocket Ping is sent. A negative one means
	// never. Default: DefaultPingInterval.
	PingInterval time.Duration

	// PingTimeout is how long the peer may be silent: anything that it sends
	// counts. The session then ends with a *SilenceError. A negative one means
	// indefinitely. Default: DefaultPingTimeout.
	PingTimeout time.Duration

	// Observe is called for each stream when it comes into being; opened says
	// that this end opened it. The result, which may be nil, observes the
	// stream. Default: nothing is observed, which costs one comparison.
	Observe func(stream uint32, opened bool) *mux.StreamObserver

	// Logger receives frames for unknown streams and refused streams, at debug
	// level, and the first stream that is one too many, at warn level. Default:
	// discarded.
	Logger *slog.Logger

	writeTimeout time.Duration // for tests; default: the constant
}

// Session is a yamux session on a WebSocket.
type Session struct {
	mux  *mux.Session
	conn *ws.Conn
}

// NewSession starts a yamux session in the given role on conn, which is the given
// side of a WebSocket. It takes over conn completely: messages, control frames
// and handlers are the session's alone, and on the accepting side nothing may
// have been read from conn since it was upgraded. Handlers that were set before
// are still called. opts may be nil. An error is about the arguments; conn is
// closed then.
func NewSession(conn *websocket.Conn, side Side, role Role, opts *Options) (*Session, error) {
	if conn == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	if opts == nil {
		opts = &Options{}
	}
	c := ws.Take(conn, side, &ws.Options{WriteTimeout: cmp.Or(opts.writeTimeout, writeTimeout)})
	m, err := mux.New(transport{c}, role, &mux.Options{
		Window:     opts.Window,
		RoundTrip:  func() time.Duration { _, least := c.RoundTrips(); return least },
		MaxStreams: maxStreams,
		Observe:    opts.Observe,
		Logger:     opts.Logger,
	})
	if err != nil {
		c.CloseWith(websocket.CloseNormalClosure, "")
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	s := &Session{mux: m, conn: c}
	s.keepAlive(opts)
	return s, nil
}

// transport is a WebSocket as a session's transport.
type transport struct{ *ws.Conn }

// Close closes the WebSocket. Its Close frame tells the peer the reason where
// the peer doesn't know it.
func (t transport) Close(reason error) {
	code, text := websocket.CloseInternalServerErr, reason.Error()
	pe, isProtocol := errors.AsType[*mux.ProtocolError](reason)
	switch {
	case isProtocol && !pe.ByPeer:
		code = websocket.CloseProtocolError
	case errors.Is(reason, mux.ErrShutdown):
		code, text = websocket.CloseGoingAway, ""
	case isProtocol, errors.Is(reason, net.ErrClosed), errors.Is(reason, io.EOF), errors.Is(reason, io.ErrUnexpectedEOF):
		code, text = websocket.CloseNormalClosure, ""
	}
	t.CloseWith(code, text)
}

// LocalAddr returns the local address of the WebSocket.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the peer's address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Done returns a channel that is closed when the session has ended. [Session.Err]
// then returns the reason.
func (s *Session) Done() <-chan struct{} { return s.mux.Done() }

// Err returns why the session ended, and nil while it hasn't: the reason given to
// CloseWithError, the peer's [*websocket.CloseError], a [*mux.ProtocolError], an
// error of the network, or [net.ErrClosed] if this end closed it.
func (s *Session) Err() error {
	err := s.mux.Err()
	if end, ok := errors.AsType[*ws.EndError](err); ok {
		return end.Cause
	}
	if errors.Is(err, mux.ErrShutdown) {
		return net.ErrClosed
	}
	return err
}

// Open opens a stream. It blocks while the peer hasn't accepted 256 of those
// opened before. Bytes may be written before the peer accepts the stream.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	stream, err := s.mux.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("wsmux: open stream: %w", err)
	}
	return stream, nil
}

// Accept waits for a stream that the peer opens. It returns [net.ErrClosed] once
// Shutdown has begun, and the reason of the session's end otherwise.
func (s *Session) Accept() (*Stream, error) {
	stream, err := s.mux.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = fmt.Errorf("wsmux: accept stream: %w", err)
	}
	return stream, err
}

// Ping sends a WebSocket Ping (RFC 6455 §5.5.2), waits for the Pong and returns
// how long that took.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	return s.conn.Ping(ctx, time.Now().Add(writeTimeout))
}

// PingYamux sends a yamux Ping, waits for the reply and returns how long that
// took. Keepalive doesn't use it.
func (s *Session) PingYamux(ctx context.Context) (time.Duration, error) { return s.mux.Ping(ctx) }

// GoAway asks the peer to open no more streams. Open streams go on.
func (s *Session) GoAway() error { return s.mux.GoAway() }

// Shutdown sends GoAway, makes Accept and Open return, waits until the streams
// that they have returned are closed, and closes the session with status code
// 1001. If ctx ends first, it closes the session at once and returns an error.
func (s *Session) Shutdown(ctx context.Context) error {
	err := s.mux.Shutdown(ctx)
	<-s.conn.Done()
	if err != nil {
		return fmt.Errorf("wsmux: %w", err)
	}
	return nil
}

// Close ends the session and every stream on it at once, and returns when the
// socket is closed: less than a second even if the peer is frozen.
func (s *Session) Close() error {
	s.CloseWithError(net.ErrClosed)
	return nil
}

// CloseWithError is Close with a reason, which [Session.Err] returns unless the
// session has ended before. The peer receives its text, with status code 1011.
func (s *Session) CloseWithError(reason error) {
	s.mux.CloseWithError(reason)
	<-s.conn.Done()
}

// Stats are figures of a session since its start.
type Stats struct {
	mux.Stats

	// LastActivity is when anything was last sent or received, Pings included.
	LastActivity time.Time

	// RoundTrip is how long the last WebSocket Ping took, and LeastRoundTrip
	// the fastest; 0 while none has been answered.
	RoundTrip, LeastRoundTrip time.Duration

	// CloseCode and CloseReason are those of the Close frame that ended the
	// session, the peer's or this end's; 0 and empty if there was none yet.
	CloseCode   int
	CloseReason string
}

// Stats returns the session's figures.
func (s *Session) Stats() Stats {
	st := Stats{Stats: s.mux.Stats(), LastActivity: s.conn.LastActivity()}
	st.RoundTrip, st.LeastRoundTrip = s.conn.RoundTrips()
	if status := s.conn.CloseStatus(); status != nil {
		st.CloseCode, st.CloseReason = status.Code, status.Text
	}
	return st
}
