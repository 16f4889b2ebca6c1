// Package tap relays WebSockets between two other programs, a Hub and a Worker, byte by
// byte, and traces them.
//
//	t := &tap.Tap{URL: "wss://worker.example/v1/ws/sync", Tracer: tracer}
//	acceptor := tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{KeepHead: true, Upgrade: t.Upgrade})
//	err := acceptor.Serve(listener)
//
// The handshake is passed on as it was received: the order and case of the header lines,
// credentials, key, subprotocol and query. Only the Host header and the path become those of
// the URL, the offer of extensions is left out, because compressed messages couldn't be
// decoded, and the tap may have header lines of its own. The response is passed back
// unchanged, also a refusal. After the handshake every byte is relayed, with its timing:
// control frames, status codes, and how each direction ends, by a FIN or a RST. TLS ends at
// the tap on both sides.
//
// The tap has no queue besides a buffer for each direction, so a side that doesn't read
// slows the other side down, as it would without the tap. Tracing never delays the bytes.
package tap

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/trace"
)

// Tap dials the target of each handshake. The fields must not change after the first one.
type Tap struct {
	// URL is the target, with the scheme ws, wss, http or https. If it has a path other
	// than "/", that replaces the path of the handshakes, and so does a query. Its user
	// and password replace the Authorization header of the handshakes, unless Options has
	// one.
	URL string

	// Options returns the options for the next dial. Its Header is added to the
	// handshake, and replaces header lines of the same name, and its Subprotocols replace
	// those of the handshake. Nil means the defaults.
	Options func() *tunnel.DialOptions

	// KeepExtensions passes the offer of extensions on. If the target accepts one, the
	// messages aren't decoded.
	KeepExtensions bool

	// Tracer traces the sessions. Default: they are only relayed.
	Tracer *trace.Tracer

	// Up is called when a session has begun, and Down when it has ended. Default: nothing
	// is called.
	Up   func(s *Session)
	Down func(s *Session, reason string)

	// Logger logs refused handshakes at info level. Default: nothing is logged.
	Logger *slog.Logger

	lastID   atomic.Uint64
	mu       sync.Mutex
	sessions map[*Session]struct{}
	closed   bool
	running  sync.WaitGroup
}

// Session is a WebSocket that is relayed.
type Session struct {
	ID     uint64    // numbers the sessions of a Tap, from 1
	Remote string    // the remote address of the side that dialed
	Since  time.Time // the end of the handshake

	dialing, accepting net.Conn // to the side that dialed, and to the one that accepted
	relay              *trace.Relay
	isBroken           atomic.Bool // writing to a side has failed
	in, out            atomic.Int64
}

// Bytes returns how many bytes the side that dialed has sent so far, and how many the side
// that accepted.
func (s *Session) Bytes() (dialing, accepting int64) { return s.in.Load(), s.out.Load() }

// CloseCode returns the status code of the first Close frame, or 0 if there was none.
func (s *Session) CloseCode() int { return s.relay.CloseCode() }

// Streams returns how many yamux streams are open, or 0 if the session isn't traced.
func (s *Session) Streams() int { return s.relay.Streams() }

// Upgrade implements [tunnel.AcceptOptions].Upgrade, with KeepHead. It dials the target, and
// blocks meanwhile. The error is a *tunnel.RefusalError with status 502 and the reason.
func (t *Tap) Upgrade(r *http.Request) (*tunnel.Upgrade, error) {
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	head := tunnel.Head(r)
	if head == nil {
		return nil, &tunnel.RefusalError{Code: http.StatusBadRequest, Err: fmt.Errorf("the request's lines don't end with CR LF")}
	}
	opts := &tunnel.DialOptions{}
	if t.Options != nil {
		opts = t.Options()
	}
	own := opts.Header
	if len(opts.Subprotocols) > 0 {
		if own = own.Clone(); own == nil {
			own = http.Header{}
		}
		own.Set("Sec-WebSocket-Protocol", strings.Join(opts.Subprotocols, ", "))
	}
	request, err := t.rewrite(r, head, own)
	if err != nil {
		return nil, &tunnel.RefusalError{Code: http.StatusBadRequest, Err: err}
	}
	target, err := tunnel.DialTransport(r.Context(), t.URL, opts)
	if err != nil {
		return nil, &tunnel.RefusalError{Code: http.StatusBadGateway, Err: err}
	}
	stop := context.AfterFunc(r.Context(), func() { _ = target.Close() })
	return &tunnel.Upgrade{Hijack: func(conn net.Conn) {
		if !stop() {
			_ = conn.Close()
			return
		}
		t.serve(conn, target, request, r.RemoteAddr)
	}}, nil
}

// serve passes the handshake on, and then relays. It closes both connections.
func (t *Tap) serve(dialing, accepting net.Conn, request []byte, remote string) {
	s := &Session{Remote: remote, dialing: dialing, accepting: accepting}
	if !t.add(s) {
		s.close()
		return
	}
	defer t.remove(s)
	defer s.close()
	first, err := s.handshake(request)
	if err != nil {
		t.log("handshake not completed", slog.String("remote_addr", remote), slog.Any("err", err))
		return
	}
	s.ID, s.Since = t.lastID.Add(1), time.Now()
	s.relay = t.Tracer.Relay(s.ID)
	if t.Up != nil {
		t.Up(s)
	}
	s.relay.Accepting(first)
	s.run()
	if reason := s.relay.End(); t.Down != nil {
		t.Down(s, reason)
	}
}

func (t *Tap) log(msg string, attrs ...any) {
	if t.Logger != nil {
		t.Logger.Info(msg, attrs...) //nolint:sloglint // all callers pass constants
	}
}

func (t *Tap) add(s *Session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	if t.sessions == nil {
		t.sessions = map[*Session]struct{}{}
	}
	t.sessions[s] = struct{}{}
	t.running.Add(1)
	return true
}

func (t *Tap) remove(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
	t.running.Done()
}

// Shutdown refuses further handshakes, and closes the sessions that haven't ended when ctx
// ends: both sides see a lost connection. It returns after all calls of Down.
func (t *Tap) Shutdown(ctx context.Context) {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		t.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	t.mu.Lock()
	for s := range t.sessions {
		_ = belowTLS(s.dialing).Close()
		_ = belowTLS(s.accepting).Close()
	}
	t.mu.Unlock()
	<-ended
}
