// Package tunnel maintains sessions between a Hub and a Worker.
//
// A session is a yamux session on a WebSocket, see package wsmux. [Dial] dials one, a
// [Connector] redials it when it ends, and an [Acceptor] is an HTTP handler that
// accepts sessions. [Sessions] is the set of sessions that are up; a [Subscriber] is
// notified when they start and end. One end is the gRPC client, the other the gRPC
// server:
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
// Lifetimes: Serve closes its listener, and Sessions.Shutdown the sessions. The Shutdown
// methods refuse new work, wait for work in progress until their context ends, and then
// abort it; that of an Acceptor doesn't wait.
//
// Security: an Acceptor refuses handshakes of web pages (see [Guard]), requires the
// token of [AcceptOptions], and bounds the size of headers, the duration of handshakes,
// and the number of sessions. Errors and logs contain no secrets.
//
// All methods may be called from any goroutine. Nothing is logged unless a Logger is
// set.
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

// orDefault returns def if d is 0, 0 if d is negative, which means off, and otherwise d.
func orDefault(d, def time.Duration) time.Duration {
	switch {
	case d == 0:
		return def
	case d < 0:
		return 0
	}
	return d
}
