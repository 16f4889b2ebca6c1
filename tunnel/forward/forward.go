// Package forward carries gRPC connections between sockets and the streams of
// sessions.
//
//	f := &forward.Forwarder{Sessions: sessions} // the gRPC client end
//	go f.Serve(listener)                        // local connections ▸ streams
//
//	f := &forward.Forwarder{Dial: dial} // the gRPC server end
//	go f.ServeStreams(session)          // streams ▸ connections to a server
//
//	err := f.Shutdown(ctx)
//
// Bytes are forwarded unchanged, and each direction of a connection can be closed
// separately. The stream is reset if the other direction isn't closed within five
// minutes.
//
// If an HTTP/2 connection breaks, open calls of its client fail with UNAVAILABLE and
// the reason. A connection that doesn't carry HTTP/2 is reset.
//
// All methods may be called from any goroutine. Nothing is logged unless a logger is
// given.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Forwarder forwards the connections of gRPC clients to a server: each on a stream of
// the newest session, or on a connection from Dial.
type Forwarder struct {
	// Sessions are the sessions to use. It must be set unless Dial is.
	Sessions *tunnel.Sessions

	// Dial, if set, connects to the server, and Sessions isn't used. If it fails, the
	// client's call fails with its error.
	Dial func(context.Context) (net.Conn, error)

	// Wait is how long a connection waits for a session before its call fails with
	// UNAVAILABLE; negative: not at all. Default: tunnel.DefaultWait.
	Wait time.Duration

	// Secrets are masked in the reasons that clients receive, which may repeat a peer's
	// text. Default: none.
	Secrets *escape.Secrets

	// Trace receives the calls and GOAWAYs that the Forwarder answers and sends itself,
	// to clients that aren't streams. Default: none.
	Trace *trace.Tracer

	// Logger logs each connection at debug level. Default: nothing is logged.
	Logger *slog.Logger

	ended rpc.Counts

	mu        sync.Mutex
	closed    bool // Shutdown was called
	listeners map[net.Listener]struct{}
	flows     map[*flow]struct{}
	running   sync.WaitGroup // one for each of flows
}

// Serve forwards the connections that l accepts. It blocks until Shutdown and then
// returns nil, or until l fails and then returns its error. It retries temporary errors as
// [tunnel.RetryAccept] does. It closes l.
func (f *Forwarder) Serve(l net.Listener) error {
	l = tunnel.RetryAccept(l, f.Logger)
	defer l.Close()
	if !f.add(l) {
		return nil
	}
	defer f.remove(l)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			f.start(newSocketEndpoint(conn), 0)
		case f.isClosed():
			return nil
		default:
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
	}
}

// ServeStreams forwards the streams that the peer of s opens. It blocks until s ends or
// its Shutdown begins. number is that of the session in Calls.
func (f *Forwarder) ServeStreams(s *wsmux.Session, number uint64) {
	s.AcceptEach(func(c wsmux.Conn) { f.start(connEndpoint(c), number) })
}

// ServeStream forwards a stream that a peer has opened, in the background, and closes it.
func (f *Forwarder) ServeStream(c wsmux.Conn) { f.start(connEndpoint(c), 0) }

func (f *Forwarder) add(l net.Listener) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	if f.listeners == nil {
		f.listeners = map[net.Listener]struct{}{}
	}
	f.listeners[l] = struct{}{}
	return true
}

func (f *Forwarder) remove(l net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, l)
}

func (f *Forwarder) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// start forwards the connection of a client, which is a stream of this session unless it
// is 0, in a new goroutine.
func (f *Forwarder) start(client endpoint, session uint64) {
	ctx, cancel := context.WithCancelCause(context.Background())
	fl := newFlow(client, cancel, &f.ended)
	fl.secrets, fl.trace, fl.session = f.Secrets, f.Trace, session
	if f.Trace != nil {
		fl.since = time.Now()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		cancel(nil)
		_ = client.Close()
		return
	}
	if f.flows == nil {
		f.flows = map[*flow]struct{}{}
	}
	f.flows[fl] = struct{}{}
	f.running.Go(func() {
		f.forward(ctx, fl)
		cancel(nil)
		fl.calls.close(rpc.NoStatus)
		f.mu.Lock()
		delete(f.flows, fl)
		f.mu.Unlock()
	})
}

// forward connects fl to the server and copies until both directions have ended. Its
// stack frame is kept small, because it exists as long as the connection.
func (f *Forwarder) forward(ctx context.Context, fl *flow) {
	release := f.connect(ctx, fl)
	if release == nil {
		return
	}
	defer release()
	f.debug(ctx, fl, "forwarding", nil)
	if err := fl.run(); err != nil {
		f.debug(ctx, fl, "connection cut", err)
	} else {
		f.debug(ctx, fl, "connection ended", nil)
	}
}

// connect connects fl to the server. It returns a function to call when fl has ended.
// If it can't connect, it fails the client's first call with the reason, waits until
// the client has gone, and returns nil.
func (f *Forwarder) connect(ctx context.Context, fl *flow) (release func() bool) {
	server, s, err := f.dial(ctx)
	if err != nil {
		f.debug(ctx, fl, "connection not forwarded", err)
		var up <-chan struct{} // nil if a session is up but its peer accepts no streams
		if errors.Is(err, tunnel.ErrNoSession) {
			up = f.Sessions.Ready()
		}
		fl.answerUnavailable(ctx, err, up)
		return nil
	}
	if !fl.setServer(server, s) {
		_ = server.Close()
		fl.answerUnavailable(ctx, fmt.Errorf("%w: %w", tunnel.ErrNoSession, tunnel.ErrShuttingDown), nil)
		return nil
	}
	if s == nil {
		return func() bool { return true }
	}
	return s.AfterReplace(fl.drain)
}

// dial connects to the server. The session is nil unless it opened a stream.
func (f *Forwarder) dial(ctx context.Context) (endpoint, *tunnel.Session, error) {
	if f.Dial != nil {
		conn, err := f.Dial(ctx)
		if err != nil {
			return nil, nil, err
		}
		return newSocketEndpoint(conn), nil, nil
	}
	stream, s, err := f.Sessions.Open(ctx, f.Wait)
	if err != nil {
		return nil, nil, err
	}
	conn, err := s.StartTLS(ctx, stream)
	if err != nil {
		return nil, nil, err
	}
	return connEndpoint(conn), s, nil
}

func (f *Forwarder) debug(ctx context.Context, fl *flow, msg string, err error) {
	logger := f.logger()
	if !logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []any{slog.String("remote_addr", fl.client.RemoteAddr().String())}
	if server := fl.connected(); server != nil {
		attrs = append(attrs, slog.String("target", server.RemoteAddr().String()))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	logger.DebugContext(ctx, msg, attrs...) //nolint:sloglint // all callers pass constants
}

func (f *Forwarder) logger() *slog.Logger {
	if f.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Logger
}

// Reconnect makes HTTP/2 clients open another connection for their next calls: it sends each
// a GOAWAY (RFC 9113 §6.8). No call fails. A client closes its old connection when its
// open calls have ended. Other connections aren't affected. It doesn't block.
func (f *Forwarder) Reconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for fl := range f.flows {
		fl.reconnect()
	}
}

// Shutdown closes the listeners, fails the calls that wait for a session with
// UNAVAILABLE, and closes each other connection once no call is open on it. When ctx
// ends, it resets the remaining connections and returns an error with their number. It
// doesn't wait for a connection whose write blocks on a stalled session.
func (f *Forwarder) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	for l := range f.listeners {
		_ = l.Close()
	}
	flows := slices.Collect(maps.Keys(f.flows))
	f.mu.Unlock()
	for _, fl := range flows {
		fl.drain()
	}

	done := make(chan struct{})
	go func() {
		f.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	flows = slices.Collect(maps.Keys(f.flows))
	f.mu.Unlock()
	for _, fl := range flows {
		fl.cut()
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	switch n := len(flows); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 connection cut: %w", context.Cause(ctx))
	default:
		return fmt.Errorf("%d connections cut: %w", n, context.Cause(ctx))
	}
}
