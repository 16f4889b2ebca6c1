package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// handshakeTimeout bounds the arrival of the request and the sending of
	// the answer, maxHeaderBytes the request's size.
	handshakeTimeout = 10 * time.Second
	maxHeaderBytes   = 64 * 1024
)

// AcceptOptions says which handshakes an Acceptor takes. Its zero value takes
// every one without an Origin.
type AcceptOptions struct {
	// Path is the only path that is served; 404 elsewhere. Default: any.
	Path string

	// Token is demanded: in the header TokenHeader as it stands, or, if that
	// is empty, as Authorization: Bearer (RFC 6750). 401 without it.
	// Default: none is demanded.
	Token, TokenHeader string

	// CurrentToken is asked for the token at each handshake, if set, instead
	// of Token: for tokens that change.
	CurrentToken func() string

	// Origins are the Origin values that are let in; "*" is any. 403 for
	// others: a web page must not reach the tunnel. Default: none.
	Origins []string

	// LoopbackHost demands that the Host header names a loopback address or
	// localhost, for listeners there: a web page whose name was made to
	// resolve to 127.0.0.1 must not reach the tunnel either. 403 otherwise.
	LoopbackHost bool

	// Subprotocols are those supported, in order of preference. Default: none.
	Subprotocols []string

	// MaxSessions is how many may be up at a time; 503 for more. A peer that
	// has vanished counts until its silence is noticed. 0: no limit.
	MaxSessions int

	// Session adjusts the sessions.
	Session SessionOptions

	// Logger gets refused handshakes, at warn level. Default: discarded.
	Logger *slog.Logger
}

// Acceptor is an [http.Handler] that makes sessions of WebSocket handshakes.
// Its methods Serve and Shutdown run it without a server of the caller's own.
type Acceptor struct {
	opts     AcceptOptions
	sessions *Sessions
	logger   *slog.Logger
	slots    chan struct{} // a token for each session; nil: no limit
	upgrader websocket.Upgrader
	server   *http.Server // for Serve
}

// NewAcceptor returns an Acceptor that adds its sessions to sessions.
func NewAcceptor(sessions *Sessions, opts AcceptOptions) *Acceptor {
	a := &Acceptor{
		opts:     opts,
		sessions: sessions,
		logger:   orDiscard(opts.Logger),
		upgrader: websocket.Upgrader{
			HandshakeTimeout: handshakeTimeout,
			ReadBufferSize:   readBuffer,
			WriteBufferPool:  writeBuffers,
			Subprotocols:     opts.Subprotocols,
			CheckOrigin:      func(*http.Request) bool { return true }, // refuse has
			Error:            func(w http.ResponseWriter, _ *http.Request, code int, err error) { answer(w, code, err) },
		},
	}
	if opts.MaxSessions > 0 {
		a.slots = make(chan struct{}, opts.MaxSessions)
	}
	a.server = &http.Server{
		Handler:           a,
		ReadHeaderTimeout: handshakeTimeout,
		ReadTimeout:       handshakeTimeout, // a body too, though nobody wants one; a session has no time-outs
		WriteTimeout:      handshakeTimeout,
		IdleTimeout:       handshakeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(logWriter{a.logger}, "", 0),
		// HTTP/2 has no Upgrade (RFC 8441 is another matter).
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	return a
}

// ServeHTTP answers one handshake, and returns when its session has ended.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code, err := a.refuse(r); err != nil {
		a.logger.Warn("handshake refused", slog.String("remote_addr", r.RemoteAddr), slog.Int("code", code), slog.Any("err", err))
		if code == http.StatusUnauthorized && a.opts.TokenHeader == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		answer(w, code, err)
		return
	}
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		default:
			a.logger.Warn("handshake refused", slog.String("remote_addr", r.RemoteAddr), slog.Int("max_sessions", a.opts.MaxSessions))
			w.Header().Set("Retry-After", "5")
			answer(w, http.StatusServiceUnavailable, fmt.Errorf("all %d sessions are taken", a.opts.MaxSessions))
			return
		}
	}
	conn, err := a.upgrader.Upgrade(w, r, nil)
	if err != nil {
		a.logger.Warn("handshake failed", slog.String("remote_addr", r.RemoteAddr), slog.Any("err", err))
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

// refuse returns why r isn't let in, and the status to say so.
func (a *Acceptor) refuse(r *http.Request) (int, error) {
	switch {
	case a.opts.Path != "" && r.URL.Path != a.opts.Path:
		return http.StatusNotFound, errors.New("nothing here: wrong path")
	case a.opts.LoopbackHost && !isLoopbackHost(r.Host):
		return http.StatusForbidden, fmt.Errorf("host %.100q is not a loopback address", r.Host)
	case !a.allowsOrigin(r.Header["Origin"]):
		return http.StatusForbidden, fmt.Errorf("origin %.100q is not allowed", r.Header.Get("Origin"))
	}
	if err := a.checkToken(r.Header); err != nil {
		return http.StatusUnauthorized, err
	}
	if !websocket.IsWebSocketUpgrade(r) {
		return http.StatusUpgradeRequired, errors.New("a WebSocket endpoint: use ws:// or wss://")
	}
	return 0, nil
}

func (a *Acceptor) allowsOrigin(origins []string) bool {
	return !slices.ContainsFunc(origins, func(origin string) bool {
		return !slices.Contains(a.opts.Origins, "*") && !slices.Contains(a.opts.Origins, origin)
	})
}

// checkToken compares in constant time; hashes, so that neither the token's
// length shows.
func (a *Acceptor) checkToken(h http.Header) error {
	token := a.opts.Token
	if a.opts.CurrentToken != nil {
		token = a.opts.CurrentToken()
	}
	if token == "" {
		return nil
	}
	name, values := a.opts.TokenHeader, h.Values(a.opts.TokenHeader)
	if name == "" {
		name, values = "Authorization", nil
		for _, v := range h.Values(name) {
			if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "Bearer") {
				values = append(values, strings.TrimSpace(token))
			}
		}
	}
	if len(values) == 0 {
		return fmt.Errorf("no token in the header %s", http.CanonicalHeaderKey(name))
	}
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(values[0]))
	if len(values) > 1 || subtle.ConstantTimeCompare(want[:], got[:]) == 0 {
		return fmt.Errorf("wrong token in the header %s", http.CanonicalHeaderKey(name))
	}
	return nil
}

// isLoopbackHost reports whether a Host header names this machine to itself.
func isLoopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") || ip != nil && ip.IsLoopback()
}

// answer sends err as one line of plain text, and what a WebSocket client needs
// to know to do better (RFC 6455 §4.4, RFC 9110 §15.5.22).
func answer(w http.ResponseWriter, code int, err error) {
	h := w.Header()
	if code == http.StatusUpgradeRequired || code == http.StatusBadRequest {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
		h.Set("Sec-WebSocket-Version", "13")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, "wstun: %v\n", err)
}

// Serve answers handshakes on l, which it closes, until Shutdown: it returns
// nil then. It may be called for several listeners.
func (a *Acceptor) Serve(l net.Listener) error {
	if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("accept on %v: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops accepting and closes the connections that are not yet
// sessions. It waits for none of them: a handshake is worth nothing without its
// session. The sessions are their set's to shut down.
func (a *Acceptor) Shutdown(context.Context) error { return a.server.Close() }

// logWriter takes what net/http logs, such as a failed TLS handshake.
type logWriter struct{ logger *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.logger.Warn("http server", slog.String("message", strings.TrimSpace(string(p))))
	return len(p), nil
}
