// Package tunnel keeps sessions between a Hub and a Worker and puts TCP
// connections on them.
//
// A session is a yamux session on a WebSocket, see package wsmux. [Dial] makes
// one, a [Connector] keeps one up, and an [Acceptor] accepts them as an HTTP
// handler. [Sessions] is the set of those that are up; a [Subscriber] hears of
// each. One end uses them as a gRPC client, the other as a gRPC server:
//
//	sessions := &tunnel.Sessions{} // the gRPC client end
//	forwarder := &forward.Forwarder{Sessions: sessions}
//	go forwarder.Serve(localListener) // local connections ▸ streams
//
//	streams := wsmux.NewListener() // the gRPC server end
//	sessions := &tunnel.Sessions{}
//	sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { streams.Add(s.Session) }})
//	go grpcServer.Serve(streams) // stream ▸ gRPC server
//
// Lifetimes: Serve closes its listener, and Sessions.Shutdown the sessions. A
// Shutdown refuses new work, waits for work in progress until its context ends,
// and then cuts the rest; that of an Acceptor waits for nothing.
//
// Security: an Acceptor refuses handshakes of web pages (see [Guard]), demands
// the token of [AcceptOptions], and bounds headers, handshakes and sessions.
// Secrets appear in no error and no log.
//
// All methods may be called from any goroutine. Nothing is logged unless a
// logger is given.
package tunnel

import (
	"log/slog"
	"time"
)

// orDiscard returns logger, or one that discards everything if it is nil.
func orDiscard(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}

// orDefault returns d, or def if d is 0, or 0 if d is negative, which means off.
func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}
