package tap

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Bridge connects two sessions, one with the side that dials and one with the target, and
// forwards each stream that is opened on one of them to a stream of the other. So others
// can open streams, too. It isn't byte-exact below HTTP/2: each session has its own
// WebSocket messages, Pings, windows and stream numbers. The fields must not change after
// the first handshake.
type Bridge struct {
	// URL and Options are those of Tap.
	URL     string
	Options func() *tunnel.DialOptions

	// Role is the yamux role of the side that dials, and so that of the gRPC client or
	// server. Default: wsmux.Client.
	Role wsmux.Role

	// Servers receives the sessions with the gRPC server: that of the target if Role is
	// wsmux.Client, and otherwise that of the side that dials. It must be set.
	Servers *tunnel.Sessions

	// Tracer traces the sessions. Default: none.
	Tracer *trace.Tracer

	// Logger is that of both sessions. Default: nothing is logged.
	Logger *slog.Logger

	lastID  atomic.Uint64
	running sync.WaitGroup
}

// Upgrade implements [tunnel.AcceptOptions].Upgrade. It dials the target with the headers of
// r, and blocks meanwhile. The error is a *tunnel.RefusalError with the status of the
// target's refusal, or 502.
func (b *Bridge) Upgrade(r *http.Request) (*tunnel.Upgrade, error) {
	opts := tunnel.DialOptions{}
	if b.Options != nil {
		opts = *b.Options()
	}
	header := passedHeader(r.Header)
	maps.Copy(header, opts.Header)
	if opts.Header = header; len(opts.Subprotocols) == 0 {
		opts.Subprotocols = websocket.Subprotocols(r)
	}
	target, err := b.target(r.URL)
	if err != nil {
		return nil, &tunnel.RefusalError{Code: http.StatusBadGateway, Err: err}
	}
	conn, err := tunnel.DialWebSocket(r.Context(), target, &opts)
	if err != nil {
		code := http.StatusBadGateway
		if he, ok := errors.AsType[*tunnel.HandshakeError](err); ok && he.StatusCode >= http.StatusBadRequest {
			code = he.StatusCode
		}
		return nil, &tunnel.RefusalError{Code: code, Err: err}
	}
	stop := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	subprotocols := []string{} // not nil, which means those of the Acceptor
	if name := conn.Subprotocol(); name != "" {
		subprotocols = append(subprotocols, name)
	}
	return &tunnel.Upgrade{
		Subprotocols: subprotocols,
		Serve: func(dialing *websocket.Conn) { //nolint:contextcheck // the streams outlive the request
			if !stop() {
				_ = dialing.Close()
				return
			}
			b.running.Add(1)
			defer b.running.Done()
			b.serve(dialing, conn, r.RemoteAddr)
		},
	}, nil
}

// passedHeader returns the headers of a handshake that are passed on.
func passedHeader(h http.Header) http.Header {
	h = h.Clone()
	for name := range h {
		if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
			delete(h, name)
		}
	}
	return h
}

// target returns the URL with the path and the query of a handshake, unless it has them.
func (b *Bridge) target(handshake *url.URL) (string, error) {
	u, err := outbound.ParseURL(b.URL)
	if err != nil {
		return "", err
	}
	if p := u.EscapedPath(); p == "" || p == "/" {
		u.Path, u.RawPath = handshake.Path, handshake.RawPath
	}
	u.RawQuery = cmp.Or(u.RawQuery, handshake.RawQuery)
	return u.String(), nil
}

// serve bridges two WebSockets until either session ends, and closes both.
func (b *Bridge) serve(dialing, accepting *websocket.Conn, remote string) {
	// All calls pass through the session with the gRPC server.
	opts, traced := &wsmux.Options{Logger: b.Logger}, &wsmux.Options{Logger: b.Logger}
	if b.Tracer != nil {
		traced.Observe = b.Tracer.Session(b.lastID.Add(1))
	}
	nearOpts, farOpts := opts, traced
	if b.Role == wsmux.Server {
		nearOpts, farOpts = traced, opts
	}
	near, err := wsmux.NewSession(dialing, wsmux.Accepting, opposite(b.Role), nearOpts)
	if err != nil {
		_ = accepting.Close()
		return
	}
	defer near.Close()
	far, err := wsmux.NewSession(accepting, wsmux.Dialing, b.Role, farOpts)
	if err != nil {
		return
	}
	defer far.Close()
	server := far
	if b.Role == wsmux.Server {
		server = near
	}
	if b.Servers.Add(server, remote) == nil {
		return // shutting down
	}
	forwarders := [2]*forward.Forwarder{newForwarder(far, b.Logger), newForwarder(near, b.Logger)}
	var wg sync.WaitGroup
	wg.Go(func() { forwarders[0].ServeStreams(near, 0) })
	wg.Go(func() { forwarders[1].ServeStreams(far, 0) })
	select {
	case <-near.Done():
		end(far, near.Err())
	case <-far.Done():
		end(near, far.Err())
	}
	wg.Wait()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range forwarders {
		_ = f.Shutdown(ended)
	}
}

// newForwarder returns a Forwarder to streams of s.
func newForwarder(s *wsmux.Session, logger *slog.Logger) *forward.Forwarder {
	return &forward.Forwarder{Logger: logger, Dial: func(ctx context.Context) (net.Conn, error) { return s.Open(ctx) }}
}

func opposite(role wsmux.Role) wsmux.Role {
	if role == wsmux.Client {
		return wsmux.Server
	}
	return wsmux.Client
}

// end ends s because of the end of the other session: in order if that ended in order.
func end(s *wsmux.Session, reason error) {
	if ce, ok := errors.AsType[*websocket.CloseError](reason); ok && (ce.Code == websocket.CloseNormalClosure || ce.Code == websocket.CloseGoingAway) {
		_ = s.Close()
		return
	}
	s.CloseWithError(reason)
}

// Wait waits until all sessions have ended.
func (b *Bridge) Wait() { b.running.Wait() }
