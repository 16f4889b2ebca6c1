package endpoint

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
)

// Listen listens at the address of --accept, and returns the listener and its URL. It
// returns nil if e dials.
func (e *Endpoint) Listen(ctx context.Context, logger *slog.Logger) (net.Listener, string, error) {
	if e.URL != "" {
		return nil, "", nil
	}
	l, err := Listen(ctx, "--accept", e.accept)
	if err != nil {
		return nil, "", err
	}
	loopback := IsLoopback(l)
	demanding := e.token != nil || e.TLS.authorities != nil
	if !loopback && !demanding && !e.allowUnauthenticated {
		_ = l.Close()
		return nil, "", &usage.Error{
			Err:    fmt.Errorf("--accept %s: anyone who reaches this address could use the tunnel", e.accept),
			Advice: "demand a token (--token-file) or client certificates (--cacert), or use --allow-unauthenticated",
		}
	}
	e.acceptOptions.LoopbackHost = loopback && l.Addr().Network() == "tcp"
	scheme := "ws://"
	if config := e.TLS.Server(logger); config != nil {
		l = tls.NewListener(batchListener{l}, config)
		scheme = "wss://"
	}
	if l.Addr().Network() == "unix" {
		return l, Addr(l), nil
	}
	host := strings.ReplaceAll(Addr(l), "%", "%25") // before the zone of an IPv6 address (RFC 6874 §2)
	return l, scheme + host + "/" + strings.TrimPrefix(e.acceptOptions.Path, "/"), nil
}

// Run keeps a session up by dialing, or accepts sessions on l, until ctx ends: it
// returns nil then. An error says why there can be no more sessions. onRetry is called
// before each wait for the next dial.
func (e *Endpoint) Run(ctx context.Context, l net.Listener, sessions *tunnel.Sessions, logger *slog.Logger, onRetry func(in time.Duration, reason error)) error {
	if e.URL != "" {
		return e.dial(ctx, sessions, logger, onRetry)
	}
	acceptor := tunnel.NewAcceptor(sessions, e.AcceptOptions(logger))
	stop := context.AfterFunc(ctx, func() { _ = acceptor.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	return acceptor.Serve(l)
}

// AcceptOptions returns the options for accepting, with the token as it is at each
// handshake. Listen must have been called.
func (e *Endpoint) AcceptOptions(logger *slog.Logger) tunnel.AcceptOptions {
	opts := e.acceptOptions
	if e.token != nil {
		opts.CurrentToken = func() string { return e.token.get(logger) }
	}
	opts.Logger, opts.Session.Logger, opts.Session.TLS = logger, logger, e.inner.session(logger)
	return opts
}

func (e *Endpoint) dial(ctx context.Context, sessions *tunnel.Sessions, logger *slog.Logger, onRetry func(time.Duration, error)) error {
	if e.TLS.insecure {
		logger.Warn("the peer's certificate is not verified", slog.String("url", Redact(e.URL)))
	}
	connector := tunnel.Connector{
		URL:              e.URL,
		Options:          e.DialOptions(logger),
		Refresh:          func(opts *tunnel.DialOptions) { e.refresh(opts, logger) },
		Sessions:         sessions,
		MaxRetries:       e.maxRetries,
		MaxRetryInterval: e.maxRetryInterval,
		RetryNow:         e.Redial,
		DrainTimeout:     OrOff(e.DrainTimeout),
		OnRetry:          onRetry,
	}
	return connector.Run(ctx)
}
