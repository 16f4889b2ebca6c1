package wsmux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// DefaultWindow is the receive window of a stream in bytes, 4 MiB. It bounds
// one stream's rate to somewhat over half a window per round trip.
const DefaultWindow = 4 * 1024 * 1024

const (
	// writeTimeout is yamux's ConnectionWriteTimeout. It runs from the moment
	// a frame is queued, so 64 busy streams on a slow link use up yamux's
	// default of ten seconds while all is well.
	writeTimeout = 60 * time.Second

	// closeTimeout is how long a half-closed stream waits for the other half.
	closeTimeout = 15 * time.Second

	// acceptBacklog is how many streams may wait to be accepted. The value is
	// yamux's default, because yamux takes it to be the same at both ends.
	acceptBacklog = 256
)

// Role is the end of a yamux session that one side is. The two ends must
// differ: equal ones both number their streams alike.
type Role int

// The gRPC client is the yamux client and the gRPC server the yamux server,
// unless a deployment does it otherwise.
const (
	Client Role = iota
	Server
)

// String returns "client" or "server".
func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}

// Options adjusts a session. Its zero value and nil mean the defaults.
type Options struct {
	// Window is the receive window of each stream in bytes.
	// Default: DefaultWindow. yamux's least is 256 KiB.
	Window uint32

	// Logger gets what yamux has to say, at debug level. Default: discarded.
	Logger *slog.Logger
}

// Session is a yamux session on a WebSocket. yamux's own keepalive is off: the
// WebSocket's Ping does that, see [Session.Ping] and [Session.Received].
type Session struct {
	role Role
	t    *transport
	mux  *yamux.Session

	mu       sync.Mutex
	draining bool          // Shutdown has begun: nothing new is opened or accepted
	active   int           // streams opened and accepted here and not yet closed
	idle     chan struct{} // closed when draining and nothing is active

	cause    atomic.Pointer[endError] // given to CloseWithError
	muxErr   error                    // why yamux ended, set once
	muxErrMu sync.Once
}

// NewSession starts a yamux session in the given role on ws, which it takes
// over. opts may be nil. An error is about the arguments; ws is closed then.
func NewSession(ws *websocket.Conn, role Role, opts *Options) (*Session, error) {
	if ws == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	if opts == nil {
		opts = &Options{}
	}
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = writeTimeout
	config.StreamCloseTimeout = closeTimeout
	config.StreamOpenTimeout = 0 // it closes the whole session when one stream isn't accepted
	config.AcceptBacklog = acceptBacklog
	config.MaxStreamWindowSize = DefaultWindow
	if opts.Window != 0 {
		config.MaxStreamWindowSize = opts.Window
	}
	config.LogOutput = nil
	config.Logger = newMuxLogger(opts.Logger)

	t := newTransport(ws)
	start := yamux.Client
	if role == Server {
		start = yamux.Server
	}
	mux, err := start(&frameJoiner{transport: t}, config)
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	return &Session{role: role, t: t, mux: mux, idle: make(chan struct{})}, nil
}

// Yamux returns the yamux session underneath.
func (s *Session) Yamux() *yamux.Session { return s.mux }

// LocalAddr returns the local address of the WebSocket.
func (s *Session) LocalAddr() net.Addr { return s.t.ws.LocalAddr() }

// RemoteAddr returns the peer's address.
func (s *Session) RemoteAddr() net.Addr { return s.t.ws.RemoteAddr() }

// Done returns a channel that is closed when the session has ended. [Session.Err] then tells why.
func (s *Session) Done() <-chan struct{} { return s.mux.CloseChan() }

// Received returns a counter that grows with everything the peer sends, down
// to a Pong or part of a message. As long as it changes, the peer is alive.
func (s *Session) Received() uint64 { return s.t.received.Load() }

// Ping sends a WebSocket Ping (RFC 6455 §5.5.2) and doesn't wait for the Pong,
// which shows in [Session.Received]. It waits for the message that is just
// being sent until the deadline.
func (s *Session) Ping(deadline time.Time) error { return s.t.ping(deadline) }

// Open opens a stream. It waits only while yamux's backlog is full of streams
// that the peer hasn't accepted. The first bytes may be written before the
// peer accepts.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	type result struct {
		stream *yamux.Stream
		err    error
	}
	opened := make(chan result, 1)
	go func() {
		stream, err := s.mux.OpenStream() // takes no context
		opened <- result{stream, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, fmt.Errorf("wsmux: open stream: %w", s.streamError(r.err))
		}
		return s.adopt(r.stream)
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				_ = r.stream.Close()
			}
		}()
		return nil, fmt.Errorf("wsmux: open stream: the peer accepts no streams: %w", context.Cause(ctx))
	}
}

// Accept waits for a stream that the peer opens. It returns [net.ErrClosed]
// after Shutdown has begun and the session's end otherwise.
func (s *Session) Accept() (*Stream, error) {
	stream, err := s.mux.AcceptStream()
	if err != nil {
		if errors.Is(err, yamux.ErrConnectionWriteTimeout) {
			// The peer may or may not learn that the stream is open, so
			// this session is beyond repair.
			s.CloseWithError(err)
		}
		return nil, fmt.Errorf("wsmux: accept stream: %w", s.streamError(err))
	}
	return s.adopt(stream)
}

// adopt counts a new stream, or refuses it when the session is draining.
func (s *Session) adopt(stream *yamux.Stream) (*Stream, error) {
	s.mu.Lock()
	draining := s.draining
	if !draining {
		s.active++
	}
	s.mu.Unlock()
	if draining {
		_ = stream.Close()
		return nil, net.ErrClosed
	}
	return &Stream{session: s, stream: stream}, nil
}

// release uncounts a stream that has been closed.
func (s *Session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.checkIdle()
}

// checkIdle tells Shutdown when the last stream has gone. s.mu is held.
func (s *Session) checkIdle() {
	if s.draining && s.active == 0 {
		close(s.idle)
		s.active = math.MinInt // never again
	}
}

// Shutdown asks the peer to open no more streams (GoAway), waits until those
// that Open and Accept have returned are closed, and closes the session with
// status code 1001. It closes the session at once, with an error, when ctx ends first.
func (s *Session) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		go s.refuse()
		s.checkIdle()
	}
	s.mu.Unlock()
	var err error
	select {
	case <-s.idle:
	case <-s.Done():
	case <-ctx.Done():
		err = fmt.Errorf("wsmux: shutdown: streams still open: %w", context.Cause(ctx))
	}
	s.t.closeWith(websocket.CloseGoingAway, "")
	return errors.Join(err, s.Close())
}

// refuse sends GoAway and closes the streams that come all the same, until
// the session ends.
func (s *Session) refuse() {
	_ = s.mux.GoAway()
	for {
		stream, err := s.mux.AcceptStream()
		if err != nil {
			return
		}
		_ = stream.Close()
	}
}

// Close ends the session and every stream on it at once, and returns when the
// socket is closed: less than a second even if the peer is frozen.
func (s *Session) Close() error {
	err := s.mux.Close()
	<-s.t.done
	return err
}

// CloseWithError is Close with a reason, which [Session.Err] reports.
func (s *Session) CloseWithError(reason error) {
	s.cause.CompareAndSwap(nil, &endError{reason})
	_ = s.Close()
}

// Err returns why the session ended, and nil while it hasn't: the reason given
// to CloseWithError, the peer's [*websocket.CloseError], an error of the
// network or of yamux, or [net.ErrClosed] if it was closed from this side.
func (s *Session) Err() error {
	select {
	case <-s.Done():
	default:
		return nil
	}
	if cause := s.cause.Load(); cause != nil {
		return cause.err
	}
	err := s.yamuxError()
	switch {
	case errors.Is(err, yamux.ErrDuplicateStream), errors.Is(err, yamux.ErrInvalidVersion), errors.Is(err, yamux.ErrInvalidMsgType),
		errors.Is(err, yamux.ErrRecvWindowExceeded), errors.Is(err, yamux.ErrUnexpectedFlag):
		return s.explain(err)
	case err != nil && err.Error() == "yamux protocol error": // the peer's GoAway; yamux has no variable for it
		return fmt.Errorf("the peer reports a %w: it may have the yamux role %v too", err, s.role)
	}
	if end := s.t.end(); end != nil {
		return end
	}
	if err == nil || errors.Is(err, yamux.ErrSessionShutdown) {
		return net.ErrClosed
	}
	return err
}

// explain says what usually stands behind an error of yamux.
func (s *Session) explain(err error) error {
	switch {
	case errors.Is(err, yamux.ErrDuplicateStream):
		return fmt.Errorf("yamux: %w: both ends have the yamux role %v", err, s.role)
	case errors.Is(err, yamux.ErrInvalidVersion), errors.Is(err, yamux.ErrInvalidMsgType):
		return fmt.Errorf("yamux: %w: the peer doesn't speak yamux", err)
	}
	return fmt.Errorf("yamux: %w", err)
}

// yamuxError returns what ended the yamux session. Only accepting reveals it,
// after the streams that still wait to be accepted.
func (s *Session) yamuxError() error {
	s.muxErrMu.Do(func() {
		for range acceptBacklog + 1 {
			if _, s.muxErr = s.mux.AcceptStream(); s.muxErr != nil && !errors.Is(s.muxErr, yamux.ErrSessionShutdown) {
				return
			}
		}
	})
	return s.muxErr
}

// streamError is what an error on a stream means, in the terms of net.
func (s *Session) streamError(err error) error {
	select {
	case <-s.Done():
		return fmt.Errorf("session ended: %w", s.Err())
	default:
	}
	if errors.Is(err, yamux.ErrRemoteGoAway) {
		return fmt.Errorf("the peer is going away: %w", err)
	}
	return err
}

// frameJoiner sends the header of a yamux data frame together with its body,
// as one message and one system call: yamux's only writing goroutine writes
// the two one directly after the other.
type frameJoiner struct {
	*transport
	header []byte // of the frame whose body comes next
}

const (
	yamuxHeaderSize = 12 // version, type, flags (2), stream (4), length (4); spec.md of yamux
	yamuxTypeData   = 0
)

func (j *frameJoiner) Write(p []byte) (int, error) {
	if len(j.header) > 0 {
		err := j.writePair(j.header, p)
		j.header = j.header[:0]
		if err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if len(p) == yamuxHeaderSize && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0 {
		j.header = append(j.header, p...)
		return len(p), nil
	}
	return j.transport.Write(p)
}

var _ io.ReadWriteCloser = (*frameJoiner)(nil)

// muxLogger passes what yamux logs on to slog.
type muxLogger struct{ logger *slog.Logger }

func newMuxLogger(logger *slog.Logger) muxLogger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return muxLogger{logger}
}

func (l muxLogger) Printf(format string, v ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug("yamux", slog.String("message", fmt.Sprintf(format, v...)))
	}
}

func (l muxLogger) Print(v ...any)   { l.Printf("%s", fmt.Sprint(v...)) }
func (l muxLogger) Println(v ...any) { l.Printf("%s", fmt.Sprint(v...)) }
