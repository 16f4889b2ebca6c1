package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// handshakeTimeout bounds the time in which a request arrives, and the
	// time in which its answer is sent.
	handshakeTimeout = 10 * time.Second

	// maxHeaderBytes bounds the size of a request.
	maxHeaderBytes = 64 * 1024
)

// AcceptOptions says which handshakes an Acceptor accepts, and how. Its zero
// value accepts every one without an Origin.
type AcceptOptions struct {
	// Path is the only path that is served; 404 elsewhere. Default: any.
	Path string

	// Token is what each handshake must carry: as it is in the header
	// TokenHeader, or, if that is empty, as Authorization: Bearer (RFC 6750).
	// 401 without it. Default: none is demanded.
	Token, TokenHeader string

	// CurrentToken, if set, is called at each handshake for the token to use
	// instead of Token: for tokens that change.
	CurrentToken func() string

	// Origins and LoopbackHost are those of Guard.
	Origins      []string
	LoopbackHost bool

	// Subprotocols are the supported ones, in order of preference. Default:
	// none.
	Subprotocols []string

	// MaxSessions is how many sessions may be up at a time; 503 for more. A
	// peer that has vanished counts until PingTimeout. 0: no limit.
	MaxSessions int

	// Upgrade, if set, is called for each handshake that has passed the checks
	// above and counts as a session, before it is answered. It may dial
	// elsewhere first, which delays no other handshake, and says how to answer
	// and what serves the WebSocket; nil stands for the zero Upgrade. An error
	// refuses the handshake: with the status and headers of a *RefusalError,
	// else with 502, and with the error's text as the body.
	//
	// The context of r ends when the client hangs up before the answer, when
	// Upgrade takes longer than UpgradeTimeout, when Shutdown begins while
	// Upgrade runs, and always when ServeHTTP returns: after Upgrade.Serve or
	// the session, or because the handshake has failed after Upgrade, whose
	// method, version and key (RFC 6455 §4.2.1) are checked last.
	// [context.AfterFunc] can release there what Upgrade has made.
	Upgrade func(r *http.Request) (*Upgrade, error)

	// Session adjusts the sessions.
	Session SessionOptions

	// Logger receives refused handshakes, at warn level. Default: discarded.
	Logger *slog.Logger
}

// Acceptor is an [http.Handler] that turns WebSocket handshakes into sessions.
// Serve runs a server for it; a caller with a server of its own doesn't need
// that.
type Acceptor struct {
	opts     AcceptOptions
	guard    Guard
	sessions *Sessions
	logger   *slog.Logger
	slots    chan struct{} // an element for each session; nil: no limit
	upgrader websocket.Upgrader
	server   *http.Server    // for Serve
	closing  context.Context //nolint:containedctx // the Acceptor's own: ends when Shutdown begins
	close    context.CancelCauseFunc
}

// NewAcceptor returns an Acceptor that adds its sessions to sessions.
func NewAcceptor(sessions *Sessions, opts AcceptOptions) *Acceptor {
	a := &Acceptor{
		opts:     opts,
		guard:    Guard{Origins: opts.Origins, LoopbackHost: opts.LoopbackHost},
		sessions: sessions,
		logger:   orDiscard(opts.Logger),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: handshakeTimeout,
			ReadBufferSize:   readBuffer,
			WriteBufferPool:  writeBuffers,
			Subprotocols:     opts.Subprotocols,
			CheckOrigin:      func(*http.Request) bool { return true }, // the guard has checked it
			Error: func(w http.ResponseWriter, _ *http.Request, code int, err error) {
				(&RefusalError{Code: code, Err: err}).answer(w)
			},
		},
	}
	a.closing, a.close = context.WithCancelCause(context.Background())
	if opts.MaxSessions > 0 {
		a.slots = make(chan struct{}, opts.MaxSessions)
	}
	a.server = &http.Server{
		Handler:           a,
		ReadHeaderTimeout: handshakeTimeout,
		ReadTimeout:       handshakeTimeout, // includes a body, which nobody reads; a session has no time-outs
		WriteTimeout:      handshakeTimeout,
		IdleTimeout:       handshakeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(logWriter{a.logger}, "", 0),
		// HTTP/2 has no Upgrade (RFC 8441 is another matter).
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	return a
}

// ServeHTTP answers one handshake, and returns when its session has ended or its
// Upgrade.Serve has returned.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refusal := a.check(r); refusal != nil {
		a.refuse(w, r, refusal)
		return
	}
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			refusal := refuse(http.StatusServiceUnavailable, "all %d sessions are taken", a.opts.MaxSessions)
			refusal.Header = http.Header{"Retry-After": {"5"}}
			a.refuse(w, r, refusal)
			return
		}
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	r = r.WithContext(ctx)
	up, refusal := a.callUpgrade(w, r, cancel) //nolint:contextcheck // r has ctx
	if refusal != nil {
		a.refuse(w, r, refusal)
		return
	}
	upgrader := a.upgrader
	if up.Subprotocols != nil {
		upgrader.Subprotocols = up.Subprotocols
	}
	conn, err := upgrader.Upgrade(w, r, up.Header)
	if err != nil {
		a.logger.Warn("handshake failed", slog.String("remote_addr", r.RemoteAddr), slog.Any("err", err))
		return
	}
	if up.Serve != nil {
		up.Serve(conn)
		return
	}
	session, err := a.opts.Session.start(conn, wsmux.Accepting)
	if err != nil {
		a.logger.Error("session not started", slog.String("remote_addr", r.RemoteAddr), slog.Any("err", err))
		return
	}
	if s := a.sessions.Add(session, r.RemoteAddr); s != nil {
		<-s.Done()
	}
}

// check returns why r is refused, or nil.
func (a *Acceptor) check(r *http.Request) *RefusalError {
	if a.opts.Path != "" && r.URL.Path != a.opts.Path {
		return refuse(http.StatusNotFound, "nothing here: wrong path")
	}
	if refusal := a.guard.check(r); refusal != nil {
		return refusal
	}
	if refusal := a.opts.checkToken(r.Header); refusal != nil {
		return refusal
	}
	if !websocket.IsWebSocketUpgrade(r) {
		return refuse(http.StatusUpgradeRequired, "a WebSocket endpoint: use ws:// or wss://")
	}
	return nil
}

func (a *Acceptor) refuse(w http.ResponseWriter, r *http.Request, refusal *RefusalError) {
	a.logger.Warn("handshake refused", refusal.attrs(r)...)
	refusal.answer(w)
}

// Serve answers handshakes on l until Shutdown, and then returns nil. It closes
// l. It may be called for several listeners.
func (a *Acceptor) Serve(l net.Listener) error {
	if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("accept on %v: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting, and ends the handshakes in progress without waiting
// for them. It leaves WebSockets alone: Sessions.Shutdown ends the sessions, and
// each Upgrade.Serve ends itself.
func (a *Acceptor) Shutdown(context.Context) error {
	a.close(ErrShuttingDown)
	return a.server.Close()
}

// logWriter logs the messages of net/http, such as a failed TLS handshake.
type logWriter struct{ logger *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.logger.Warn("http server", slog.String("message", strings.TrimSpace(string(p))))
	return len(p), nil
}
