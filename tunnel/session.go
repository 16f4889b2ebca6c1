package tunnel

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// Session is a session of a Sessions set.
type Session struct {
	*wsmux.Session

	// ID numbers the sessions of one set, from 1.
	ID uint64

	// Remote is the peer: the URL that was dialed, or the address that the
	// WebSocket came from.
	Remote string

	// Since is when the session was added to its set.
	Since time.Time

	replaced context.Context //nolint:containedctx // the session's own: ends when another session replaces it
	replace  context.CancelFunc
	ups      sync.WaitGroup // calls of Subscriber.Up that haven't returned
	downDone chan struct{}  // closed when every Subscriber.Down has returned
	retired  bool           // takes no new streams; guarded by Sessions.mu
}

// AfterReplace calls f in a goroutine of its own once another session replaces
// s, which then gets no new streams. Calling stop prevents that; it returns
// false if f has been started or stopped before, like [context.AfterFunc].
func (s *Session) AfterReplace(f func()) (stop func() bool) {
	return context.AfterFunc(s.replaced, f)
}

// SessionOptions adjusts the sessions that Dial and an Acceptor make. Its zero
// value means the defaults.
type SessionOptions struct {
	// Role is the yamux role. Default: wsmux.Client.
	Role wsmux.Role

	// Window is the receive window of each stream in bytes, at least 256 KiB.
	// Default: one that grows, see wsmux.Options.
	Window uint32

	// PingInterval and PingTimeout are those of wsmux.Options.
	PingInterval, PingTimeout time.Duration

	// Logger receives frames for unknown streams and refused streams, at debug
	// level, and the first stream that is one too many, at warn level. Default:
	// discarded.
	Logger *slog.Logger
}

// start starts a session on conn, which is the given side of a WebSocket, and
// takes ownership of conn.
func (o *SessionOptions) start(conn *websocket.Conn, side wsmux.Side) (*wsmux.Session, error) {
	limitUnsent(conn.NetConn())
	return wsmux.NewSession(conn, side, o.Role, &wsmux.Options{
		Window:       o.Window,
		PingInterval: o.PingInterval,
		PingTimeout:  o.PingTimeout,
		Logger:       o.Logger,
	})
}
