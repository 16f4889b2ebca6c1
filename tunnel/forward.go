package tunnel

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
)

const (
	// farewellGrace is the time in which a call arrives that the client sent
	// before it heard that it should begin no more.
	farewellGrace = 250 * time.Millisecond

	// farewellWait bounds how long a drained connection's client may take to
	// close its side, and how long Shutdown waits for what it has cut.
	farewellWait = time.Second

	// acceptPause is the wait after a temporary error of Accept, such as too
	// many open files.
	acceptPause = 50 * time.Millisecond
)

// Forwarder carries the connections of gRPC clients on to a server: local ones
// on streams of the newest session, or with Dial streams on to an upstream.
// Each direction ends on its own, as TCP's do; once one has ended, yamux gives
// the other five minutes. A connection that is lost rather than ended is reset,
// if it is a TCP connection.
type Forwarder struct {
	// Sessions has the sessions to use. It must be set unless Dial is.
	Sessions *Sessions

	// Dial, if set, makes the connection to the server for each of a client's,
	// instead of a stream. Its error is what calls fail with.
	Dial func(context.Context) (net.Conn, error)

	// Wait is how long a connection is held while no session is up. Its first
	// call is answered with UNAVAILABLE then. A negative one answers at once.
	// Default: DefaultWait.
	Wait time.Duration

	// Logger gets each connection, at debug level. Default: discarded.
	Logger *slog.Logger

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	flows     map[*flow]struct{}
	wg        sync.WaitGroup // the flows
}

// Serve forwards the connections that l accepts, until Shutdown, when it
// returns nil, or an error of l. It closes l.
func (f *Forwarder) Serve(l net.Listener) error {
	defer l.Close()
	if !f.add(l) {
		return nil
	}
	defer f.remove(l)
	for {
		conn, err := l.Accept()
		if err != nil {
			if f.isClosed() {
				return nil
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Temporary() { //nolint:staticcheck // as net/http's server does; nothing replaces it here
				orDiscard(f.Logger).Warn("accept", slog.Any("err", err))
				time.Sleep(acceptPause) //nolint:forbidigo // there is no event to wait for
				continue
			}
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		f.start(conn)
	}
}

func (f *Forwarder) add(l net.Listener) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	if f.listeners == nil {
		f.listeners = map[net.Listener]struct{}{}
		f.flows = map[*flow]struct{}{}
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

// start forwards conn in a goroutine of its own.
func (f *Forwarder) start(conn net.Conn) {
	ctx, cancel := context.WithCancelCause(context.Background())
	fl := newFlow(conn, cancel)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		cancel(nil)
		_ = conn.Close()
		return
	}
	f.flows[fl] = struct{}{}
	f.wg.Go(func() {
		f.forward(ctx, fl)
		cancel(nil)
		f.mu.Lock()
		delete(f.flows, fl)
		f.mu.Unlock()
	})
}

// forward finds fl's way on and copies until both directions have ended. Its
// frame lasts as long as the connection, so it is kept small.
func (f *Forwarder) forward(ctx context.Context, fl *flow) {
	if release := f.connect(ctx, fl); release != nil {
		defer release()
		f.debug(ctx, fl, "forwarding", nil)
		if err := fl.run(); err != nil {
			f.debug(ctx, fl, "connection cut", err)
		} else {
			f.debug(ctx, fl, "connection ended", nil)
		}
	}
}

func (f *Forwarder) debug(ctx context.Context, fl *flow, msg string, err error) {
	logger := orDiscard(f.Logger)
	if !logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []any{slog.String("remote_addr", fl.near.RemoteAddr().String())}
	if far := fl.carrier(); far != nil {
		attrs = append(attrs, slog.String("target", far.RemoteAddr().String()))
	}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	logger.DebugContext(ctx, msg, attrs...) //nolint:sloglint // one of forward's
}

// connect finds fl's way on, and returns what to call at its end. If there is
// none, it answers fl's first call with the reason and returns nil.
func (f *Forwarder) connect(ctx context.Context, fl *flow) (release func() bool) {
	far, s, err := f.dial(ctx)
	if err != nil {
		f.debug(ctx, fl, "connection not forwarded", err)
		var up <-chan struct{} // never, if there is one that takes no streams
		if errors.Is(err, ErrNoSession) {
			up = f.Sessions.Ready()
		}
		answerUnavailable(ctx, fl.near, err, up)
		return nil
	}
	if !fl.carry(far) {
		_ = far.Close()
		answerUnavailable(ctx, fl.near, noSession(ErrShuttingDown), nil)
		return nil
	}
	if s == nil {
		return func() bool { return true }
	}
	return s.AfterReplace(fl.drain)
}

// dial makes the connection to the server, or opens the stream that leads there,
// on the session that it returns then.
func (f *Forwarder) dial(ctx context.Context) (net.Conn, *Session, error) {
	if f.Dial != nil {
		conn, err := f.Dial(ctx)
		return conn, nil, err
	}
	stream, s, err := f.Sessions.Open(ctx, f.Wait)
	if err != nil {
		return nil, nil, err
	}
	return stream, s, nil
}

// Shutdown closes the listeners, answers the connections that wait for a
// session with UNAVAILABLE, and closes the others, each once no call is open on
// it. When ctx ends, the rest is cut, and the error says how many. One whose
// session is stalled ends with its session, which Shutdown doesn't wait for.
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
		f.wg.Wait()
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
	timer := time.NewTimer(farewellWait)
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
