package tunnel

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Session is a session in a Sessions set.
type Session struct {
	*wsmux.Session

	// ID numbers the sessions of one set, from 1.
	ID uint64

	// Remote is the URL that was dialed, or the remote address of an accepted
	// WebSocket.
	Remote string

	// Since is when the session was added to its set.
	Since time.Time

	peerExpires time.Time // of the certificate

	replaced context.Context //nolint:containedctx // ends when another session replaces this one
	replace  context.CancelFunc
	retired  context.Context         //nolint:containedctx // ends, with the reason, when the session takes no new streams
	retire   context.CancelCauseFunc // called with Sessions.mu held
	ups      sync.WaitGroup          // calls of Subscriber.Up that haven't returned
	downDone chan struct{}           // closed when every Subscriber.Down has returned
}

// retireReason returns why s takes no new streams, or nil if it does.
func (s *Session) retireReason() error { return context.Cause(s.retired) }

// IsRetired reports whether s takes no new streams, because another session replaces it, its
// peer is going away, or it has ended.
func (s *Session) IsRetired() bool { return s.retired.Err() != nil }

// PeerCertificateExpires returns when the certificate of the peer expires, or the zero time if
// it has none.
func (s *Session) PeerCertificateExpires() time.Time { return s.peerExpires }

// AfterReplace calls f in its own goroutine when another session replaces s, which then
// gets no new streams. stop prevents the call. It returns false if f was already
// started or stopped, like that of [context.AfterFunc].
func (s *Session) AfterReplace(f func()) (stop func() bool) {
	return context.AfterFunc(s.replaced, f)
}

// SessionOptions adjusts the sessions of Dial and an Acceptor. The zero value means the
// defaults.
type SessionOptions struct {
	// Role is the yamux role. Default: wsmux.Client.
	Role wsmux.Role

	// Window, Unread, PingInterval, PingTimeout and Logger are those of wsmux.Options. So is
	// MaxMessage, which a Connector lowers, and an Acceptor for the peer's host, after the
	// peer has refused a message with status code 1009: to 32 KiB, then to half of that, and
	// to 1 KiB at last.
	Window                    uint32
	MaxMessage                int
	Unread                    *mux.UnreadLimit
	PingInterval, PingTimeout time.Duration
	Logger                    *slog.Logger

	// TLS is that of wsmux.Options: for TLS inside the streams.
	TLS *wsmux.TLS

	// Observe returns the function Observe of wsmux.Options for the session with this
	// ID, which is 0 for a session of Dial. Default: no observers.
	Observe func(id uint64) func(stream uint32, opened bool) *mux.StreamObserver
}

// Start starts a session on conn, which is the given side of a WebSocket, with an ID for
// Observe. Start takes ownership of conn, also if it returns an error. The caller closes
// the session.
func (o *SessionOptions) Start(conn *websocket.Conn, side wsmux.Side, id uint64) (*wsmux.Session, error) {
	limitUnsent(conn.NetConn())
	var observe func(stream uint32, opened bool) *mux.StreamObserver
	if o.Observe != nil {
		observe = o.Observe(id)
	}
	return wsmux.NewSession(conn, side, o.Role, &wsmux.Options{
		Observe:      observe,
		TLS:          o.TLS,
		Window:       o.Window,
		Unread:       o.Unread,
		MaxMessage:   o.MaxMessage,
		PingInterval: o.PingInterval,
		PingTimeout:  o.PingTimeout,
		Logger:       o.Logger,
	})
}

// peerExpires returns when the certificate of the peer of conn expires, or the zero time.
func peerExpires(conn net.Conn) (_ time.Time) {
	for conn != nil {
		if secure, ok := conn.(*tls.Conn); ok {
			if chain := secure.ConnectionState().PeerCertificates; len(chain) > 0 {
				return chain[0].NotAfter
			}
			return
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = wrapped.NetConn()
	}
	return
}
