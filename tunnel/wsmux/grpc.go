package wsmux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	grpckeepalive "google.golang.org/grpc/keepalive"

	"github.com/wstun/wstun/tunnel/ws"
)

// DefaultWindow is the receive window of a stream in the sessions of [ServeGRPC]
// and [DialGRPC] in bytes, 4 MiB. It bounds one stream's rate to somewhat over
// half a window per round trip.
const DefaultWindow = 4 * 1024 * 1024

// maxCalls is how many RPCs of one client a server runs at a time. gRPC clients
// wait with more. It is far beyond what one client does, and bounds its cost.
const maxCalls = 16384

// maxLingering is how many streams a peer may leave half-open that are closed at
// this end, including the 256 that may wait to be accepted.
const maxLingering = 512

// closeWait bounds how long the close of a stream, or a GoAway, may wait for a
// stalled link.
const closeWait = 200 * time.Millisecond

// ServerOptions returns the options of the server that [ServeGRPC] makes: both
// message limits at [MaxMsgSize], 16384 RPCs at a time for each client, and
// patience with clients that ping.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxRecvMsgSize(MaxMsgSize),
		grpc.MaxSendMsgSize(MaxMsgSize),
		grpc.KeepaliveEnforcementPolicy(grpckeepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
}

// ServeGRPC serves gRPC on a WebSocket as the yamux server. register is called
// before serving begins; ServeGRPC returns once it has begun, and the caller
// waits on the session's CloseChan.
//
// GracefulStop of the server lets the RPCs in flight finish and then closes the
// session and the WebSocket. Stop, closing the session, and closing wsConn end
// everything at once, and the server is stopped when the session ends, whichever
// end it was.
//
// Nothing here notices a peer that has vanished without closing its connection:
// yamux's keepalive is off. To notice one, send Pings and let the Pongs move a
// read deadline, before or after this call:
//
//	wsConn.SetReadDeadline(time.Now().Add(90 * time.Second))
//	wsConn.SetPongHandler(func(string) error {
//		return wsConn.SetReadDeadline(time.Now().Add(90 * time.Second))
//	})
//	// every 30 seconds, until session.CloseChan():
//	wsConn.WriteControl(websocket.PingMessage, nil, time.Now().Add(10*time.Second))
//
// An error is about nil arguments; wsConn is closed then.
func ServeGRPC(wsConn *websocket.Conn, register func(*grpc.Server)) (*grpc.Server, *yamux.Session, error) {
	if register == nil {
		if wsConn != nil {
			_ = wsConn.Close()
		}
		return nil, nil, errors.New("wsmux: the register function is nil")
	}
	s, err := newYamuxSession(wsConn, yamux.Server)
	if err != nil {
		return nil, nil, err
	}
	srv := grpc.NewServer(ServerOptions()...)
	register(srv)
	l := newYamuxListener(s)
	go l.acceptStreams()
	go func() { _ = srv.Serve(l) }() // ends with the server
	go func() {
		<-s.CloseChan()
		srv.Stop()
	}()
	<-l.serving
	return srv, s.Session, nil
}

// DialGRPC returns a gRPC client on a WebSocket as the yamux client.
//
// It sends nothing before the first RPC, which opens one yamux stream; all
// RPCs share it. When the stream or the session ends, RPCs fail at once with
// Unavailable and a text that says why; a lost stream is opened again by the
// next RPC as long as the session is up. The caller closes the client and the
// session; closing the session alone is enough to free everything but the
// client's own memory.
//
// As with [ServeGRPC], only the caller's own Pings notice a peer that has
// vanished.
//
// An error is about a nil wsConn.
func DialGRPC(wsConn *websocket.Conn) (*grpc.ClientConn, *yamux.Session, error) {
	s, err := newYamuxSession(wsConn, yamux.Client)
	if err != nil {
		return nil, nil, err
	}
	cc, err := newClient(s.open)
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	return cc, s.Session, nil
}

// yamuxSession is a session of hashicorp/yamux.
type yamuxSession struct {
	*yamux.Session
	conn    *yamuxConn
	opening chan struct{} // holds a token for each OpenStream call, which takes no context
}

// maxOpening is how many OpenStream calls may be under way: impatient callers leave
// them.
const maxOpening = 64

func newYamuxSession(wsConn *websocket.Conn, start func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)) (*yamuxSession, error) {
	if wsConn == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = writeTimeout // it runs from queueing: on a slow link the default of 10 s passes while all is well
	config.StreamOpenTimeout = 0                 // it would close the whole session when one stream isn't accepted
	config.MaxStreamWindowSize = DefaultWindow
	config.LogOutput = io.Discard
	conn := newYamuxConn(ws.Share(wsConn, &ws.Options{WriteTimeout: writeTimeout}))
	session, err := start(conn, config)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("wsmux: %w", err)
	}
	s := &yamuxSession{session, conn, make(chan struct{}, maxOpening)}
	go func() {
		<-session.CloseChan()
		close(conn.closing)
	}()
	return s, nil
}

// reason is why the session ended.
func (s *yamuxSession) reason() error {
	if end := s.conn.End(); end != nil {
		return end
	}
	return net.ErrClosed
}

// open opens a stream for a gRPC client.
func (s *yamuxSession) open(ctx context.Context) (net.Conn, error) {
	select {
	case s.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wsmux: open stream: the peer accepts no streams: %w", context.Cause(ctx))
	}
	type result struct {
		stream *yamux.Stream
		err    error
	}
	opened := make(chan result)
	go func() {
		stream, err := s.OpenStream()
		<-s.opening
		if err != nil {
			err = s.convert(err)
		}
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
			return nil, fmt.Errorf("wsmux: open stream: %w", r.err)
		}
		return &yamuxStream{Stream: r.stream, session: s}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wsmux: open stream: the peer accepts no streams: %w", context.Cause(ctx))
	}
}

// convert puts an error of hashicorp/yamux into the terms of net. After a write
// time-out the frame may still arrive, so the session is closed and nothing is
// tried again.
func (s *yamuxSession) convert(err error) error {
	switch {
	case errors.Is(err, yamux.ErrConnectionWriteTimeout):
		go func() { _ = s.Close() }()
		return fmt.Errorf("the link is stalled: %w", err)
	case s.IsClosed():
		return fmt.Errorf("session ended: %w", s.reason())
	case errors.Is(err, yamux.ErrRemoteGoAway):
		return fmt.Errorf("the peer is going away: %w", err)
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	}
	return err
}

// yamuxStream is a stream as gRPC uses it.
type yamuxStream struct {
	*yamux.Stream
	session  *yamuxSession
	greeting *greeting // nil unless a listener has accepted the stream
	closed   func()    // called by Close; may be nil
	once     sync.Once
}

func (s *yamuxStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if s.greeting != nil {
		s.greeting.receive(p[:n])
	}
	if err != nil && (err != io.EOF || s.session.IsClosed()) { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		err = fmt.Errorf("wsmux: %w", s.session.convert(err))
	}
	return n, err
}

func (s *yamuxStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	if err != nil {
		err = fmt.Errorf("wsmux: %w", s.session.convert(err))
	}
	return n, err
}

// Close ends both directions. That of hashicorp/yamux is a half-close: a Read
// would go on until the peer closes, too. On a stalled link Close returns before
// the peer has been told.
func (s *yamuxStream) Close() error {
	s.once.Do(func() {
		_ = s.SetReadDeadline(time.Unix(1, 0))
		if s.greeting != nil {
			s.greeting.end()
		}
		within(closeWait, func() { _ = s.Stream.Close() })
		if s.closed != nil {
			s.closed()
		}
	})
	return nil
}

// within calls f and returns when f does, or after d.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// yamuxListener is the listener of a gRPC server on one session, which ends with
// it: when the last stream is closed.
type yamuxListener struct {
	*Listener
	session *yamuxSession
	begun   sync.Once
	serving chan struct{} // closed at the first Accept, or Close
	room    chan struct{} // holds a token for each open stream

	stateMu  sync.Mutex
	streams  int  // open
	draining bool // Close was called
}

func newYamuxListener(s *yamuxSession) *yamuxListener {
	return &yamuxListener{Listener: NewListener(), session: s, serving: make(chan struct{}), room: make(chan struct{}, maxStreams)}
}

// acceptStreams accepts streams until the session ends. With maxStreams of them
// open it accepts no more, and hashicorp/yamux resets what doesn't fit its
// backlog.
func (l *yamuxListener) acceptStreams() {
	for {
		select {
		case l.room <- struct{}{}:
		case <-l.session.CloseChan():
			return
		}
		stream, err := l.session.AcceptStream()
		if err != nil { // also a write time-out, which leaves the session up
			_ = l.session.Close()
			return
		}
		c := &yamuxStream{Stream: stream, session: l.session, closed: l.release}
		c.greeting = newGreeting(l.Listener, c)
		known := l.session.NumStreams()
		l.stateMu.Lock()
		l.streams++
		lingering := known - l.streams
		tooMany := lingering > maxLingering && !l.draining
		l.stateMu.Unlock()
		if tooMany { // hashicorp/yamux goes on buffering for streams that are closed here alone
			_ = l.session.Close()
			return
		}
		l.offer(c, c.greeting, l.session.CloseChan())
	}
}

// release records that a stream has been closed.
func (l *yamuxListener) release() {
	<-l.room
	l.stateMu.Lock()
	l.streams--
	last := l.draining && l.streams == 0
	l.stateMu.Unlock()
	if last {
		go l.end()
	}
}

func (l *yamuxListener) Accept() (net.Conn, error) {
	l.begun.Do(func() { close(l.serving) })
	return l.Listener.Accept()
}

// Close stops accepting, and ends the session when its last stream is closed.
func (l *yamuxListener) Close() error {
	l.begun.Do(func() { close(l.serving) })
	err := l.Listener.Close()
	go l.drain()
	return err
}

func (l *yamuxListener) drain() {
	within(closeWait, func() { _ = l.session.GoAway() })
	l.stateMu.Lock()
	idle := !l.draining && l.streams == 0
	l.draining = true
	l.stateMu.Unlock()
	if idle {
		l.end()
	}
}

// end ends the session in order.
func (l *yamuxListener) end() {
	l.session.conn.CloseWith(websocket.CloseGoingAway, "")
	_ = l.session.Close()
}
