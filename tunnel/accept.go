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
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// handshakeTimeout bounds the time to read a request, and the time to write the
	// response.
	handshakeTimeout = 10 * time.Second

	// maxHeaderBytes bounds the size of a request header.
	maxHeaderBytes = 64 * 1024
)

// AcceptOptions determines which handshakes an Acceptor accepts, and how. The zero
// value accepts all handshakes without an Origin header.
type AcceptOptions struct {
	// Path is the only path that is served; others get 404. It may be
	// percent-encoded. Default: any path.
	Path string

	// Token must be in each handshake: as the value of the header TokenHeader, or,
	// if that is empty, as Authorization: Bearer (RFC 6750). Handshakes without it
	// get 401. Default: no token is required.
	Token, TokenHeader string

	// CurrentToken, if set, is called at each handshake and replaces Token, for
	// tokens that change.
	CurrentToken func() string

	// Origins and LoopbackHost are those of Guard.
	Origins      []string
	LoopbackHost bool

	// Subprotocols are the supported subprotocols in order of preference. Default:
	// none.
	Subprotocols []string

	// MaxSessions is how many sessions may be up at the same time; further
	// handshakes get 503. A peer that has vanished counts until PingTimeout.
	// Default: no limit.
	MaxSessions int

	// Upgrade, if set, is called for each handshake that has passed the checks
	// above, before the response. It may block, for example to dial another
	// server, without delaying other handshakes. The result determines the
	// response and the use of the WebSocket; nil means the zero Upgrade. An error
	// refuses the handshake, with the status and headers of a *RefusalError or
	// else with 502, and with its text as the body.
	//
	// The context of r ends when the client disconnects before the response, when
	// Upgrade takes longer than 30 s, when Shutdown begins while Upgrade runs, when
	// Upgrade.Serve or Upgrade.Hijack has returned or the session has ended, and when
	// the handshake fails after Upgrade: its method, version and key
	// (RFC 6455 §4.2.1) are checked last. Use
	// [context.AfterFunc] with it to release resources of Upgrade.
	Upgrade func(r *http.Request) (*Upgrade, error)

	// Plain, if set, answers the requests that aren't handshakes of WebSockets, before all
	// other checks; see Guard. Default: they get 426.
	Plain http.Handler

	// KeepHead keeps the head of each request for [Head]. A connection then has only one
	// request. It applies to Serve.
	KeepHead bool

	// Session adjusts the sessions.
	Session SessionOptions

	// Logger logs refused handshakes at warn level; of many from one host for the same
	// reason, only one every ten seconds. Default: nothing is logged.
	Logger *slog.Logger
}

// Acceptor is an [http.Handler] that accepts sessions. Serve runs an HTTP server for
// it, but it can also be used with another server.
type Acceptor struct {
	opts     AcceptOptions
	guard    Guard
	sessions *Sessions
	logger   *slog.Logger
	problems *peerLog      // with logger
	pending  *handshakes   // for Serve
	slots    chan struct{} // holds a token for each session; nil: no limit
	limits   messageLimits
	upgrader websocket.Upgrader
	server   *http.Server    // for Serve
	closing  context.Context //nolint:containedctx // ends when Shutdown begins
	close    context.CancelCauseFunc
}

// NewAcceptor returns an Acceptor that adds its sessions to sessions.
func NewAcceptor(sessions *Sessions, opts AcceptOptions) *Acceptor {
	a := &Acceptor{
		opts:     opts,
		guard:    Guard{Origins: opts.Origins, LoopbackHost: opts.LoopbackHost},
		sessions: sessions,
		logger:   orDiscard(opts.Logger),
		problems: newPeerLog(opts.Logger),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: handshakeTimeout,
			ReadBufferSize:   0, // keeps the server's: sessions read from the socket themselves
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
		ReadTimeout:       handshakeTimeout, // including a body; doesn't apply to sessions
		WriteTimeout:      handshakeTimeout,
		IdleTimeout:       handshakeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(serverLog{a.problems}, "", 0),
		// Disables HTTP/2, which has no Upgrade. (RFC 8441 isn't supported.)
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	a.pending = newHandshakes(func() {
		a.problems.warn("too many connections without a handshake: closing the oldest", "", "")
	})
	a.pending.follow(a.server)
	return a
}

// ServeHTTP handles one handshake. It returns when that is complete. The session, or
// Upgrade.Serve, has a goroutine of its own: that of an HTTP server would keep its stack
// and the request for as long.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.opts.Plain != nil && !websocket.IsWebSocketUpgrade(r) {
		a.opts.Plain.ServeHTTP(w, r)
		return
	}
	if refusal := a.check(r); refusal != nil {
		a.refuse(w, r, refusal)
		return
	}
	if !a.takeSlot() {
		refusal := refuse(http.StatusServiceUnavailable, "all %d sessions are taken", a.opts.MaxSessions)
		refusal.Header = http.Header{"Retry-After": {"5"}}
		a.refuse(w, r, refusal)
		return
	}
	a.pending.passed(r)
	server := r.Context() // ends when ServeHTTP returns
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(server))
	stop := context.AfterFunc(server, func() { cancel(context.Cause(server)) })
	release := func() {
		cancel(nil)
		a.freeSlot()
	}
	run := a.upgrade(w, r.WithContext(ctx), cancel) //nolint:contextcheck // r has ctx
	if stop(); run == nil {
		release()
		return
	}
	go func() {
		defer release()
		run()
	}()
}

// takeSlot takes one of MaxSessions. It returns false if there is none.
func (a *Acceptor) takeSlot() bool {
	if a.slots == nil {
		return true
	}
	select {
	case a.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (a *Acceptor) freeSlot() {
	if a.slots != nil {
		<-a.slots
	}
}

// upgrade completes the handshake and returns the function that uses the connection, or
// nil after a failure. cancel ends the context of r.
func (a *Acceptor) upgrade(w http.ResponseWriter, r *http.Request, cancel context.CancelCauseFunc) (run func()) {
	up, refusal := a.callUpgrade(w, r, cancel)
	if refusal != nil {
		a.refuse(w, r, refusal)
		return nil
	}
	failed := func(err error) {
		a.problems.warn("handshake failed", r.RemoteAddr, err.Error(), slog.String("remote_addr", r.RemoteAddr), slog.Any("err", err))
	}
	if up.Hijack != nil {
		conn, err := hijack(w)
		if err != nil {
			failed(err)
			return nil
		}
		return func() { up.Hijack(conn) }
	}
	upgrader := a.upgrader
	if up.Subprotocols != nil {
		upgrader.Subprotocols = up.Subprotocols
	}
	conn, err := upgrader.Upgrade(w, r, up.Header)
	if err != nil {
		failed(err)
		return nil
	}
	if up.Serve != nil {
		return func() { up.Serve(conn) }
	}
	remote := r.RemoteAddr
	return func() { a.serve(conn, remote) }
}

// serve runs a session on conn until it ends.
func (a *Acceptor) serve(conn *websocket.Conn, remote string) {
	opts := a.opts.Session
	a.limits.apply(&opts, remote)
	s, err := a.sessions.start(conn, wsmux.Accepting, &opts, remote)
	switch {
	case err != nil:
		a.logger.Error("session not started", slog.String("remote_addr", remote), slog.Any("err", err))
	case s != nil:
		<-s.Done()
		a.limits.ended(&opts, remote, s.Err())
	}
}

// check returns a refusal of r, or nil to accept it.
func (a *Acceptor) check(r *http.Request) *RefusalError {
	if a.opts.Path != "" && r.URL.Path != a.opts.Path && r.URL.EscapedPath() != a.opts.Path {
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
	a.problems.warn("handshake refused", r.RemoteAddr, refusal.Error(), refusal.attrs(r)...)
	refusal.answer(w)
}

// Serve handles handshakes on l. It blocks until Shutdown and then returns nil. It
// closes l. It may be called for several listeners.
//
// At most 1024 connections wait without a completed handshake, fewer if the process may
// open less than four times as many files. Beyond that, and when there are no more files
// to open, a new connection closes the oldest of them, unless that is new or, before
// the first is closed, handshakes are being completed.
func (a *Acceptor) Serve(l net.Listener) error {
	if a.opts.KeepHead {
		a.server.SetKeepAlivesEnabled(false)
		l = headListener{l, a.server.ErrorLog}
	}
	err := a.server.Serve(newRetryListener(l, a.logger, a.pending.release))
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("accept on %v: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown closes the listeners of Serve and aborts handshakes. It doesn't block, and
// doesn't close WebSockets: use Sessions.Shutdown to end the sessions. Each
// Upgrade.Serve must end by itself.
func (a *Acceptor) Shutdown(context.Context) error {
	a.close(ErrShuttingDown)
	return a.server.Close()
}
