package wsmux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// DefaultWindow is the receive window of a stream in the sessions of [ServeGRPC]
// and [DialGRPC] in bytes, 4 MiB. It bounds one stream's rate to somewhat over
// half a window per round trip.
const DefaultWindow = 4 * 1024 * 1024

// maxLingering is how many streams a peer may leave half-open that are closed
// here: yamux goes on buffering what comes on them.
const maxLingering = 256

// errLingering is why a session ends whose peer leaves more.
var errLingering = errors.New("the peer leaves too many streams half-open that are closed here")

// maxOpening is how many streams may be in the midst of being opened. Each waits
// for its turn on the link, so one at a time would be slow on a busy one.
const maxOpening = 64

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
	// Window is the receive window of each stream in bytes, 256 KiB at the
	// least. Default: one that begins with that and grows to 1 MiB, or up to
	// 16 MiB on a long way, as the link can use it: [Session.Ping] measures how
	// long a round trip takes.
	Window uint32

	// Logger gets what yamux has to say, at debug level, and streams that a
	// Listener refuses, at warn level. Default: discarded.
	Logger *slog.Logger

	// Inspect is called with each piece of what the peer sends over the
	// WebSocket, before yamux sees it. It must neither keep the bytes nor wait.
	// Default: none.
	Inspect func(received []byte)

	shared       bool          // others send control frames on the WebSocket, and use the yamux session
	writeTimeout time.Duration // for tests; 0: writeTimeout
}

// Session is a yamux session on a WebSocket. yamux's own keepalive is off: the
// WebSocket's Ping does that, see [Session.Ping] and [Session.Received].
type Session struct {
	role   Role
	logger *slog.Logger
	t      *transport
	mux    *yamux.Session

	shared bool         // the yamux session is the caller's, too
	window uint32       // the size of receive windows; 0: they grow
	grown  atomic.Int64 // what they have grown by in sum

	opening chan struct{} // holds a token for each stream that yamux is opening

	stopAccept context.CancelFunc // called when Shutdown begins
	accepting  context.Context    //nolint:containedctx // the session's own, for yamux to wait on

	mu       sync.Mutex
	draining bool                 // Shutdown has begun: nothing new is opened or accepted
	streams  map[*Stream]struct{} // opened and accepted here and not yet closed
	isIdle   bool                 // draining, and there are no streams
	idle     chan struct{}        // closed when isIdle
	goneAway chan struct{}        // closed when GoAway has been sent

	endsMu sync.Mutex
	ends   map[uint32]*ends // of the streams that haven't ended at both ends
	resets []uint32         // streams that were reset here, which yamux doesn't know yet

	ending atomic.Bool // yamux is about to end, or has ended

	cause      atomic.Pointer[endError] // given to CloseWithError
	muxErrOnce sync.Once
	muxErr     error // why yamux ended
}

// NewSession starts a yamux session in the given role on ws, which it takes
// over wholly: control frames too are the session's alone, see [Session.Ping].
// opts may be nil. An error is about the arguments; ws is closed then.
func NewSession(ws *websocket.Conn, role Role, opts *Options) (*Session, error) {
	if ws == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	if opts == nil {
		opts = &Options{}
	}
	logger := opts.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		role:     role,
		logger:   logger,
		t:        newTransport(ws),
		opening:  make(chan struct{}, maxOpening),
		streams:  map[*Stream]struct{}{},
		ends:     map[uint32]*ends{},
		idle:     make(chan struct{}),
		goneAway: make(chan struct{}),

		shared: opts.shared,
		window: opts.Window,
	}
	s.t.writeTimeout = cmp.Or(opts.writeTimeout, writeTimeout)
	if !opts.shared {
		s.t.failed = s.sendFailed
		s.t.frames = newFrameWriter(ws, s.t.limitWrite)
		if r := newFrameReader(s.t); r != nil {
			s.t.next = r.NextReader
		}
	}
	s.accepting, s.stopAccept = context.WithCancel(context.Background())
	conn := newMuxConn(s, opts.Inspect)
	var err error
	if s.mux, err = startMux(conn, role, opts); err != nil {
		_ = s.t.Close()
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	close(conn.started)
	return s, nil
}

// Yamux returns the yamux session underneath. Its streams are for Open and Accept
// to hand out: what comes on others is never read.
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
// which shows in [Session.Received] and tells how long a round trip is. It waits for the message that is just
// being sent until the deadline. A Ping that the socket hasn't taken whole by
// then costs the connection, so the deadline is best a generous one.
func (s *Session) Ping(deadline time.Time) error { return s.t.ping(deadline) }

// Open opens a stream. It waits only while the link is stalled or yamux's
// backlog is full of streams that the peer hasn't accepted. The first bytes
// may be written before the peer accepts.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	stream, err := s.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("wsmux: open stream: %w", err)
	}
	return s.adopt(stream)
}

func (s *Session) open(ctx context.Context) (*yamux.Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if s.accepting.Err() != nil {
		return nil, net.ErrClosed
	}
	// yamux takes no context: maxOpening calls are what impatient callers can
	// leave behind.
	select {
	case s.opening <- struct{}{}:
	case <-s.Done():
		return nil, s.streamError(yamux.ErrSessionShutdown)
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer accepts no streams: %w", context.Cause(ctx))
	}
	type result struct {
		stream *yamux.Stream
		err    error
	}
	opened := make(chan result)
	go func() {
		stream, err := s.mux.OpenStream()
		<-s.opening
		select {
		case opened <- result{stream, err}:
		case <-ctx.Done():
			if err == nil {
				_ = stream.Close()
			}
		}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, s.streamError(r.err)
		}
		return r.stream, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer accepts no streams: %w", context.Cause(ctx))
	}
}

// Accept waits for a stream that the peer opens. It returns [net.ErrClosed]
// once Shutdown has begun, and why the session ended otherwise.
func (s *Session) Accept() (*Stream, error) {
	stream, err := s.mux.AcceptStreamWithContext(s.accepting)
	switch {
	case err == nil && s.lingering() > acceptBacklog+maxLingering:
		s.CloseWithError(errLingering)
		return nil, errLingering
	case err == nil:
		return s.adopt(stream)
	case s.accepting.Err() != nil:
		return nil, net.ErrClosed
	}
	return nil, fmt.Errorf("wsmux: accept stream: %w", s.streamError(err))
}

// adopt takes a new stream into the session, or refuses it when the session is
// draining.
func (s *Session) adopt(stream *yamux.Stream) (*Stream, error) {
	st := newStream(s, stream)
	s.mu.Lock()
	draining := s.draining
	if !draining {
		s.streams[st] = struct{}{}
	}
	s.mu.Unlock()
	if draining {
		_ = stream.Close()
		return nil, net.ErrClosed
	}
	if s.ending.Load() {
		st.wake()
	}
	return st, nil
}

// lingering is how many streams yamux knows of that are not open here: those
// that wait to be accepted, and those that the peer hasn't closed.
func (s *Session) lingering() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return 0
	}
	return s.mux.NumStreams() - len(s.streams)
}

// release forgets a stream that has been closed.
func (s *Session) release(st *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.checkIdle()
}

// checkIdle tells Shutdown when the last stream has gone. s.mu is held.
func (s *Session) checkIdle() {
	if s.draining && len(s.streams) == 0 && !s.isIdle {
		s.isIdle = true
		close(s.idle)
	}
}
