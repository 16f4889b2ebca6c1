// Package tunnel keeps sessions between a Hub and a Worker and puts TCP
// connections on them.
//
// A session is a yamux session on a WebSocket, see package wsmux. [Dial] makes
// one, a [Connector] keeps one up, an [Acceptor] takes them from an HTTP
// server; all add them to [Sessions], the set of those that are up. What
// happens on them is up to one of two ends:
//
//	sessions := &tunnel.Sessions{} // the gRPC client end
//	forwarder := &tunnel.Forwarder{Sessions: sessions}
//	go forwarder.Serve(localListener) // TCP ▸ stream
//
//	streams := wsmux.NewListener() // the gRPC server end
//	sessions := &tunnel.Sessions{}
//	sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { streams.Add(s.Session) }})
//	go grpcServer.Serve(streams) // stream ▸ gRPC server
//
// Lifetimes: whoever made a listener or a session closes it, or leaves that to
// the Shutdown of what it was handed to. Every Shutdown stops taking new work,
// waits for what is under way until its context ends, and then cuts the rest.
//
// Security: an Acceptor refuses handshakes that carry an Origin, demands what
// [AcceptOptions] names, and bounds headers, handshakes and sessions. Secrets
// appear in no error and no log.
//
// All methods may be called from any goroutine. Nothing is logged unless a
// logger is given.
package tunnel

import (
	"log/slog"
	"time"
)

// orDiscard returns logger, or one that drops everything.
func orDiscard(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}

// orDefault returns d, def if d is 0, and 0 if d is negative, which stands for
// off.
func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}
