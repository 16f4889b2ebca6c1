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

	"github.com/wstun/wstun/tunnel/ws"
)

// yamuxWindow is the receive window of each stream in the sessions of ServeGRPC and
// DialGRPC, in bytes. It limits the rate of one stream to a bit more than half a
// window per round trip.
const yamuxWindow = 4 * 1024 * 1024

// maxLingering is how many streams that are closed at this end the peer may leave open,
// including the 256 that may wait to be accepted.
const maxLingering = 512

// streamCloseWait bounds how long closing a stream, or sending GoAway, may wait for a
// stalled link.
const streamCloseWait = 200 * time.Millisecond

// ServeGRPC serves gRPC on a WebSocket as the yamux server. It calls register, starts
// serving in the background, and returns. The caller waits on the session's
// CloseChan.
//
// The server's GracefulStop waits for RPCs in flight and then closes the session and
// the WebSocket. Its Stop, closing the session, and closing wsConn end everything at
// once. When either end ends the session, the server stops.
//
// ServeGRPC doesn't detect a peer that has vanished without closing its connection:
// yamux's keepalive is off. To detect that, send Pings and let the Pongs extend a
// read deadline, set before or after this call:
//
//	wsConn.SetReadDeadline(time.Now().Add(90 * time.Second))
//	wsConn.SetPongHandler(func(string) error {
//		return wsConn.SetReadDeadline(time.Now().Add(90 * time.Second))
//	})
//	// every 30 seconds, until session.CloseChan():
//	wsConn.WriteControl(websocket.PingMessage, nil, time.Now().Add(10*time.Second))
//
// An error means that an argument is nil; wsConn is then closed.
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
// It sends nothing before the first RPC, which opens a yamux stream; all RPCs share
// that. When the stream or the session ends, RPCs fail at once with Unavailable and
// the reason. While the session is up, the next RPC replaces a lost stream. The caller
// closes the client and the session; closing only the session frees everything but
// the client's own memory.
//
// As with [ServeGRPC], only the caller's own Pings detect a peer that has vanished.
//
// An error means that wsConn is nil.
func DialGRPC(wsConn *websocket.Conn) (*grpc.ClientConn, *yamux.Session, error) {
	s, err := newYamuxSession(wsConn, yamux.Client)
	if err != nil {
		return nil, nil, err
	}
	cc, err := newClient(nil, s.open)
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
	opening chan struct{} // holds a token for each running OpenStream call
}

// maxOpening is how many OpenStream calls may run. OpenStream takes no context, so
// calls whose caller has given up keep running.
const maxOpening = 64

func newYamuxSession(wsConn *websocket.Conn, start func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)) (*yamuxSession, error) {
	if wsConn == nil {
		return nil, errors.New("wsmux: the WebSocket connection is nil")
	}
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = writeTimeout // includes the time in the queue: the default of 10 s is too short for a slow link
	config.StreamOpenTimeout = 0                 // otherwise one stream that isn't accepted ends the whole session
	config.MaxStreamWindowSize = yamuxWindow
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

// reason returns why the session ended.
func (s *yamuxSession) reason() error {
	if end := s.conn.End(); end != nil {
		return end
	}
	return net.ErrClosed
}

// open opens a stream for a gRPC client. It blocks until the peer has room for another
// stream, or ctx ends.
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
			err = s.convertError(err)
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

// convertError converts an error of hashicorp/yamux to one of net or os, or explains
// it. After a write timeout the frame may still be sent, so a retry could send it
// twice: it closes the session.
func (s *yamuxSession) convertError(err error) error {
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

// yamuxStream is a hashicorp/yamux stream with the errors and the Close of a net.Conn.
type yamuxStream struct {
	*yamux.Stream
	session *yamuxSession
	preface *prefaceScanner // nil on the gRPC client's end
	onClose func()          // called by Close; may be nil
	once    sync.Once
}

func (s *yamuxStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if s.preface != nil {
		s.preface.receive(p[:n])
	}
	if err != nil && (err != io.EOF || s.session.IsClosed()) { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
		err = fmt.Errorf("wsmux: %w", s.session.convertError(err))
	}
	return n, err
}

func (s *yamuxStream) Write(p []byte) (int, error) {
	n, err := s.Stream.Write(p)
	if err != nil {
		err = fmt.Errorf("wsmux: %w", s.session.convertError(err))
	}
	return n, err
}

// Close closes both directions. yamux.Stream.Close only closes this end's direction,
// and a pending Read continues until the peer closes its own. On a stalled link, Close
// returns before the FIN is sent.
func (s *yamuxStream) Close() error {
	s.once.Do(func() {
		_ = s.SetReadDeadline(time.Unix(1, 0))
		if s.preface != nil {
			s.preface.stop()
		}
		within(streamCloseWait, func() { _ = s.Stream.Close() })
		if s.onClose != nil {
			s.onClose()
		}
	})
	return nil
}

// within calls f and returns when f returns, or after d while f continues.
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

// yamuxListener is the listener of a gRPC server on one session. Close also ends the
// session, once its last stream is closed.
type yamuxListener struct {
	*Listener
	session   *yamuxSession
	serveOnce sync.Once
	serving   chan struct{} // closed at the first Accept, or by Close
	open      chan struct{} // holds a token for each open stream

	stateMu  sync.Mutex
	streams  int  // open streams
	draining bool // Close was called
}

func newYamuxListener(s *yamuxSession) *yamuxListener {
	return &yamuxListener{Listener: NewListener(), session: s, serving: make(chan struct{}), open: make(chan struct{}, maxStreams)}
}

// acceptStreams accepts streams until the session ends. While maxStreams are open, it
// accepts none, and hashicorp/yamux resets streams beyond its backlog.
func (l *yamuxListener) acceptStreams() {
	for {
		select {
		case l.open <- struct{}{}:
		case <-l.session.CloseChan():
			return
		}
		stream, err := l.session.AcceptStream()
		if err != nil { // including a write timeout, after which yamux keeps the session
			_ = l.session.Close()
			return
		}
		c := &yamuxStream{Stream: stream, session: l.session, onClose: l.streamClosed}
		c.preface = newPrefaceScanner(l.Listener, c)
		known := l.session.NumStreams()
		l.stateMu.Lock()
		l.streams++
		lingering := known - l.streams
		tooMany := lingering > maxLingering && !l.draining
		l.stateMu.Unlock()
		if tooMany { // hashicorp/yamux still buffers data for streams closed at this end only
			_ = l.session.Close()
			return
		}
		l.deliver(c, c.preface, l.session.CloseChan())
	}
}

// streamClosed records that a stream has been closed at this end.
func (l *yamuxListener) streamClosed() {
	<-l.open
	l.stateMu.Lock()
	l.streams--
	last := l.draining && l.streams == 0
	l.stateMu.Unlock()
	if last {
		go l.closeSession()
	}
}

func (l *yamuxListener) Accept() (net.Conn, error) {
	l.serveOnce.Do(func() { close(l.serving) })
	return l.Listener.Accept()
}

// Close makes Accept return, and starts to drain the session. It doesn't block.
func (l *yamuxListener) Close() error {
	l.serveOnce.Do(func() { close(l.serving) })
	err := l.Listener.Close()
	go l.drain()
	return err
}

// drain sends GoAway, and closes the session if no stream is open.
func (l *yamuxListener) drain() {
	within(streamCloseWait, func() { _ = l.session.GoAway() })
	l.stateMu.Lock()
	idle := !l.draining && l.streams == 0
	l.draining = true
	l.stateMu.Unlock()
	if idle {
		l.closeSession()
	}
}

// closeSession closes the session with status code 1001.
func (l *yamuxListener) closeSession() {
	l.session.conn.CloseWith(websocket.CloseGoingAway, "")
	_ = l.session.Close()
}
