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
	// writeTimeout is how long a write to the socket may make no progress.
	writeTimeout = 60 * time.Second

	// maxStreams is how many streams of a session the peer may have open. A gRPC
	// server uses a goroutine and a buffer for each.
	maxStreams = 16384
)

// Role is the yamux role of one end of a session. The two ends must differ.
type Role = mux.Role

// Usually the gRPC client is the yamux client and the gRPC server the yamux server.
const (
	Client = mux.Client
	Server = mux.Server
)

// Side is one end of a WebSocket.
type Side = ws.Side

// A websocket.Dialer returns the dialing side, a websocket.Upgrader the accepting
// side.
const (
	Dialing   = ws.Dialing
	Accepting = ws.Accepting
)

// Stream is a yamux stream: a [net.Conn] with half-close.
type Stream = mux.Stream

// Options adjusts a session. Its zero value and nil mean the defaults.
type Options struct {
	// Window is the receive window of each stream in bytes, at least 256 KiB.
	// Default: windows start at 256 KiB and grow if that makes a stream faster, to
	// 1 MiB, or to 16 MiB on a link with a long round-trip time.
	Window uint32

	// Unread limits the memory of received bytes that nothing has read yet; see
	// mux.Options. Default: 256 MiB for this session.
	Unread *mux.UnreadLimit

	// PingInterval is the interval between WebSocket Pings; negative: none are
	// sent. Default: DefaultPingInterval.
	PingInterval time.Duration

	// PingTimeout is how long the peer may send nothing at all before the session
	// ends with a *SilenceError; negative: no limit. Default: DefaultPingTimeout.
	PingTimeout time.Duration

	// MaxMessage is how many bytes a WebSocket message that this end sends has at most,
	// for peers with a limit, such as coder/websocket's of 32 KiB. Default: no limit.
	MaxMessage int

	// Observe returns the observer of a new stream, or nil for none; see
	// mux.Options. Default: no observers.
	Observe func(stream uint32, opened bool) *mux.StreamObserver

	// TLS is for TLS inside the streams of Connect and AcceptEach. Their observers receive the
	// plaintext. Default: none.
	TLS *TLS

	// Logger logs frames for unknown streams and refused streams at debug level,
	// and the first stream beyond a limit at warn level. The client of DialGRPC logs
	// to it, too; see ClientOptions. Default: nothing is logged.
	Logger *slog.Logger

	writeTimeout time.Duration // for tests; default: the constant
}

// Session is a yamux session on a WebSocket.
type Session struct {
	mux    *mux.Session
	conn   *ws.Conn
	logger *slog.Logger // nil: nothing is logged

	tls     *TLS                                                 // nil: none
	observe func(stream uint32, opened bool) *mux.StreamObserver // of streams with TLS; nil: none
}

// NewSession starts a yamux session in the given role on conn, which is the given
// side of a WebSocket. The caller must not use conn any more, not even for control
// frames. On the accepting side, nothing may have been read from conn since the
// upgrade. The session still calls the handlers that were set before. opts may be
// nil. An error means that an argument is invalid; conn is then closed.
func NewSession(conn *websocket.Conn, side Side, role Role, opts *Options) (*Session, error) {
	if conn == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	if opts == nil {
		opts = &Options{}
	}
	c := ws.Take(conn, side, &ws.Options{WriteTimeout: cmp.Or(opts.writeTimeout, writeTimeout), MaxMessage: opts.MaxMessage})
	m, err := mux.New(transport{c}, role, &mux.Options{
		Window:     opts.Window,
		RoundTrip:  func() time.Duration { _, least := c.RoundTrips(); return least },
		MaxStreams: maxStreams,
		Unread:     opts.Unread,
		Observe:    opts.observeMux(),
		Logger:     opts.Logger,
	})
	if err != nil {
		c.CloseWith(websocket.CloseNormalClosure, "")
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	s := &Session{mux: m, conn: c, logger: opts.Logger, tls: opts.TLS, observe: opts.Observe}
	s.keepAlive(opts)
	return s, nil
}

// transport is the mux.Transport on a WebSocket.
type transport struct{ *ws.Conn }

// Close closes the WebSocket. The Close frame contains reason if the peer can't know
// it otherwise.
func (t transport) Close(reason error) {
	code, text := websocket.CloseInternalServerErr, reason.Error()
	pe, isProtocol := errors.AsType[*mux.ProtocolError](reason)
	own, isOwn := reason.(*websocket.CloseError) //nolint:errorlint // that of CloseWithError: a peer's is wrapped
	switch {
	case isOwn && ws.IsStatusCode(own.Code):
		code, text = own.Code, own.Text
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

// Done returns a channel that is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.mux.Done() }

// Err returns nil while the session is up, and then why it ended: the reason given to
// CloseWithError, the peer's [*websocket.CloseError], a [*mux.ProtocolError], a
// [*SilenceError], a network error, or [net.ErrClosed] if this end closed it.
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

// Open opens a stream. It blocks while 256 earlier streams wait for the peer to
// accept them. The stream can be written before the peer accepts it.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	stream, err := s.mux.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("wsmux: open stream: %w", err)
	}
	return stream, nil
}

// Accept waits for the peer to open a stream, and returns it. The error is
// [net.ErrClosed] once Shutdown has begun, and otherwise why the session ended.
func (s *Session) Accept() (*Stream, error) {
	stream, err := s.mux.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = fmt.Errorf("wsmux: accept stream: %w", err)
	}
	return stream, err
}

// Ping sends a WebSocket Ping (RFC 6455 §5.5.2), waits for the Pong, and returns the
// round-trip time.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	return s.conn.Ping(ctx, time.Now().Add(writeTimeout))
}

// PingYamux sends a yamux Ping, waits for the reply, and returns the round-trip time.
// Keepalive doesn't use it.
func (s *Session) PingYamux(ctx context.Context) (time.Duration, error) { return s.mux.Ping(ctx) }

// GoAway tells the peer to open no more streams, and resets those that it opens
// nevertheless. Open streams aren't affected.
func (s *Session) GoAway() error { return s.mux.GoAway() }

// AnnounceGoAway is GoAway, but still accepts the streams that the peer opens before it
// receives that.
func (s *Session) AnnounceGoAway() { s.mux.AnnounceGoAway() }

// PeerGoingAway returns a channel that is closed when the peer sends GoAway: it accepts no
// more streams. Open streams aren't affected.
func (s *Session) PeerGoingAway() <-chan struct{} { return s.mux.PeerGoingAway() }

// Shutdown sends GoAway, makes Accept and Open return net.ErrClosed, waits until all
// streams that they returned are closed, and closes the session with status code 1001.
// If ctx ends first, it closes the session at once and returns an error.
func (s *Session) Shutdown(ctx context.Context) error {
	err := s.mux.Shutdown(ctx)
	<-s.conn.Done()
	if err != nil {
		return fmt.Errorf("wsmux: %w", err)
	}
	return nil
}

// Close ends the session and all its streams at once. It returns when the socket is
// closed, which takes less than a second even if the peer doesn't read.
func (s *Session) Close() error {
	s.CloseWithError(net.ErrClosed)
	return nil
}

// CloseWithError is Close with a reason for [Session.Err] to return, unless the
// session has already ended. The peer receives the status code and the text of a
// [*websocket.CloseError], if a Close frame may have that code, and otherwise the
// reason's text with status code 1011. Text beyond 123 bytes is cut off.
func (s *Session) CloseWithError(reason error) {
	s.mux.CloseWithError(reason)
	<-s.conn.Done()
}

// Stats are the statistics of a session since its start.
type Stats struct {
	mux.Stats

	// LastActivity is when a message or a control frame was last sent or received.
	LastActivity time.Time

	// RoundTrip and LeastRoundTrip are the round-trip times of the last WebSocket
	// Ping and of the fastest one, or 0 if none has been answered.
	RoundTrip, LeastRoundTrip time.Duration
}

// Stats returns the session's statistics.
func (s *Session) Stats() Stats {
	st := Stats{Stats: s.mux.Stats(), LastActivity: s.conn.LastActivity()}
	st.RoundTrip, st.LeastRoundTrip = s.conn.RoundTrips()
	return st
}
