package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// DefaultWait is the default of Forwarder.Wait.
const DefaultWait = 5 * time.Second

const (
	// copyBuffer is what one direction of a connection copies at a time.
	copyBuffer = 64 * 1024

	// farewellWait bounds how long a drained connection's client may take to
	// close its side.
	farewellWait = time.Second

	// acceptPause is the wait after a temporary error of Accept, such as too
	// many open files.
	acceptPause = 50 * time.Millisecond
)

// Forwarder puts local connections on streams of the newest session, each
// connection on a stream of its own. Each direction ends on its own, as TCP's do.
type Forwarder struct {
	// Sessions has the sessions to use. It must be set.
	Sessions *Sessions

	// Wait is how long a connection is held while no session is up. It is
	// answered with UNAVAILABLE then. A negative one answers at once.
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

func (f *Forwarder) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// start forwards conn in a goroutine of its own.
func (f *Forwarder) start(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	fl := &flow{local: conn, calls: newCalls(), cancel: cancel}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		cancel()
		_ = conn.Close()
		return
	}
	f.flows[fl] = struct{}{}
	f.wg.Go(func() {
		f.forward(ctx, fl)
		cancel()
		f.mu.Lock()
		delete(f.flows, fl)
		f.mu.Unlock()
	})
}

// forward finds a stream for fl and copies until both directions have ended.
func (f *Forwarder) forward(ctx context.Context, fl *flow) {
	logger := orDiscard(f.Logger).With(slog.String("remote_addr", fl.local.RemoteAddr().String()))
	s, stream, err := f.open(ctx)
	if err != nil {
		logger.Debug("connection not forwarded", slog.Any("err", err))
		answerUnavailable(fl.local, err)
		return
	}
	logger = logger.With(slog.Uint64("session", s.ID), slog.String("stream", stream.RemoteAddr().String()))
	logger.Debug("forwarding")
	if err := fl.run(stream); err != nil {
		logger.Debug("connection cut", slog.Any("err", err))
		return
	}
	logger.Debug("connection ended")
}

// open opens a stream on the newest session that still takes one.
func (f *Forwarder) open(ctx context.Context) (*Session, *wsmux.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, max(orDefault(f.Wait, DefaultWait), time.Nanosecond))
	defer cancel()
	for {
		s, err := f.Sessions.Wait(ctx)
		if err != nil {
			return nil, nil, err
		}
		stream, err := s.Open(ctx)
		if err == nil {
			return s, stream, nil
		}
		if ctx.Err() != nil {
			return nil, nil, err
		}
		f.Sessions.remove(s, err) // it has ended, or its peer is going away
	}
}

// Shutdown closes the listeners and then each connection once no call is open
// on it; when ctx ends, the rest is cut, and the error says how many.
func (f *Forwarder) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	for l := range f.listeners {
		_ = l.Close()
	}
	for fl := range f.flows {
		fl.calls.whenIdle(fl.sayFarewell)
	}
	f.mu.Unlock()

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
	n := len(f.flows)
	for fl := range f.flows {
		fl.cut()
	}
	f.mu.Unlock()
	<-done
	return fmt.Errorf("%d connections cut: %w", n, context.Cause(ctx))
}

// flow is a local connection and, once there is one, its stream.
type flow struct {
	local  net.Conn
	calls  *calls
	cancel context.CancelFunc // ends the wait for a session
}

// sayFarewell ends the local connection as its server would: with a FIN, upon
// which the client closes its side, and with that the stream ends.
func (fl *flow) sayFarewell() {
	fl.cancel()
	if cw, ok := fl.local.(closeWriter); ok {
		_ = cw.CloseWrite()
	}
	_ = fl.local.SetReadDeadline(time.Now().Add(farewellWait))
}

// cut ends the local connection at once, and so that its client takes notice.
func (fl *flow) cut() {
	fl.cancel()
	if tc, ok := fl.local.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // RST: what came is not all there was to come
	}
	_ = fl.local.Close()
}

type closeWriter interface{ CloseWrite() error }

// run copies both ways and returns when both have ended, and the error if they
// didn't end in order. It closes both connections.
func (fl *flow) run(stream *wsmux.Stream) error {
	var up, down error
	var wg sync.WaitGroup
	wg.Go(func() {
		if up = fl.copyToStream(stream); up != nil {
			_ = stream.Close()
		}
	})
	wg.Go(func() {
		if down = fl.copyToLocal(stream); down != nil {
			fl.cut()
			_ = stream.Close()
		}
	})
	wg.Wait()
	_ = stream.Close()
	_ = fl.local.Close()
	return errors.Join(up, down)
}

// copyToStream copies what the local client sends, and passes its end on.
func (fl *flow) copyToStream(stream *wsmux.Stream) error {
	if err := copyFrames(stream, fl.local, newFrames(fl.calls, true)); err != nil {
		return err
	}
	return stream.CloseWrite()
}

// copyToLocal copies what the peer sends, and passes its end on.
func (fl *flow) copyToLocal(stream *wsmux.Stream) error {
	if err := copyFrames(fl.local, stream, newFrames(fl.calls, false)); err != nil {
		return err
	}
	if cw, ok := fl.local.(closeWriter); ok {
		_ = cw.CloseWrite() // fails if the client has gone already
	}
	return nil
}

// copyBuffers are shared by all connections; an idle one still holds one.
var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyFrames copies until src ends, and lets follow see what has been written.
func copyFrames(dst io.Writer, src io.Reader, follow *frames) error {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return werr
			}
			follow.Write(buf[:n])
		}
		if err == io.EOF { //nolint:errorlint // io.Reader's contract: the end is io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
	}
}
