package commands

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/wstun/wstun/tunnel"
)

// listen binds the address of --accept, and returns the listener and its URL. It
// returns nil if e dials.
func (e *endpoint) listen(ctx context.Context, out *output) (net.Listener, string, error) {
	if e.url != "" {
		return nil, "", nil
	}
	l, err := listen(ctx, "--accept", e.accept)
	if err != nil {
		return nil, "", err
	}
	loopback := isLoopback(l)
	demanding := e.token != nil || e.tls.authorities != nil
	if !loopback && !demanding && !e.allowUnauthenticated {
		_ = l.Close()
		return nil, "", &usageError{
			err:  fmt.Errorf("--accept %s: anyone who reaches this address could use the tunnel", e.accept),
			hint: "demand a token (--token-file) or client certificates (--cacert), or say --allow-unauthenticated",
		}
	}
	e.acceptOptions.LoopbackHost = loopback && l.Addr().Network() == "tcp"
	scheme := "ws://"
	if config := e.tls.server(out.logger); config != nil {
		l = tls.NewListener(batchListener{l}, config)
		scheme = "wss://"
	}
	if l.Addr().Network() == "unix" {
		return l, addrOf(l), nil
	}
	return l, scheme + addrOf(l) + "/" + strings.TrimPrefix(e.acceptOptions.Path, "/"), nil
}

// run keeps a session up by dialing, or accepts sessions on l, until ctx ends: it
// returns nil then. An error says why there can be no more sessions.
func (e *endpoint) run(ctx context.Context, l net.Listener, sessions *tunnel.Sessions, out *output) error {
	go trimMemory(ctx)
	if e.url != "" {
		return e.dial(ctx, sessions, out)
	}
	if e.token != nil {
		e.acceptOptions.CurrentToken = func() string { return e.token.get(out.logger) }
	}
	e.acceptOptions.Logger = out.logger
	e.acceptOptions.Session.Logger = out.logger
	acceptor := tunnel.NewAcceptor(sessions, e.acceptOptions)
	stop := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = acceptor.Shutdown(closing)
	})
	defer stop()
	return acceptor.Serve(l)
}

func (e *endpoint) dial(ctx context.Context, sessions *tunnel.Sessions, out *output) error {
	if e.tls.insecure {
		out.logger.Warn("the peer's certificate is not verified", slog.String("url", redact(e.url)))
	}
	e.dialOptions.Session.Logger = out.logger
	lastHint := "" // is not repeated
	connector := tunnel.Connector{
		URL:              e.url,
		Options:          &e.dialOptions,
		Refresh:          func(opts *tunnel.DialOptions) { e.refresh(opts, out.logger) },
		Sessions:         sessions,
		MaxRetries:       e.maxRetries,
		MaxRetryInterval: e.maxRetryInterval,
		RetryNow:         e.redial,
		DrainTimeout:     orOff(e.drainTimeout),
		OnRetry: func(in time.Duration, reason error) {
			in = in.Round(time.Millisecond)
			out.event("retry", map[string]any{"in": float64(in.Milliseconds()) / 1000, "reason": reason.Error()})
			attrs := []any{slog.Duration("in", in), slog.Any("err", reason)}
			if h := cmp.Or(hint(reason), dialHint(reason)); h != lastHint {
				if lastHint = h; h != "" {
					attrs = append(attrs, slog.String("hint", h))
				}
			}
			out.logger.Warn("retry", attrs...)
		},
	}
	return connector.Run(ctx)
}

// noSessionAt is the error of waiting in vain for a session at url.
func noSessionAt(ctx context.Context, url string) error {
	return fmt.Errorf("%w accepted at %s: %w", tunnel.ErrNoSession, url, context.Cause(ctx))
}

// newSessions returns a set that prints and logs its sessions to out.
func newSessions(out *output) *tunnel.Sessions {
	sessions := &tunnel.Sessions{}
	sessions.Subscribe(tunnel.Subscriber{
		Up: func(s *tunnel.Session) {
			out.event("session_up", map[string]any{"session": s.ID, "remote": s.Remote})
			out.logger.Info("session up", slog.Uint64("session", s.ID), slog.String("remote_addr", s.Remote))
		},
		Down: func(s *tunnel.Session, reason error) {
			text := reason.Error()
			if errors.Is(reason, net.ErrClosed) {
				text = "closed by this side"
			}
			out.event("session_down", map[string]any{"session": s.ID, "remote": s.Remote, "reason": text})
			out.logger.Info("session down", slog.Uint64("session", s.ID), slog.String("remote_addr", s.Remote), slog.String("reason", text))
		},
	})
	return sessions
}
