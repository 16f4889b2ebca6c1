package tunnel

import (
	"log/slog"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// SessionOptions adjusts the sessions that Dial and an Acceptor make. Its zero
// value means the defaults.
type SessionOptions struct {
	// Role is the yamux role. Default: wsmux.Client.
	Role wsmux.Role

	// Window is the receive window of each stream in bytes, 256 KiB at the
	// least. Default: one that grows, see wsmux.Options.
	Window uint32

	// PingInterval and PingTimeout are those of wsmux.Options.
	PingInterval, PingTimeout time.Duration

	// Logger receives frames for unknown streams and refused streams, at debug
	// level, and the first stream that is one too many, at warn level. Default:
	// discarded.
	Logger *slog.Logger
}

// start starts a session on conn, which it takes over and which is the given side
// of a WebSocket.
func (o *SessionOptions) start(conn *websocket.Conn, side wsmux.Side) (*wsmux.Session, error) {
	limitUnsent(conn.NetConn())
	return wsmux.NewSession(conn, side, o.Role, &wsmux.Options{
		Window:       o.Window,
		PingInterval: o.PingInterval,
		PingTimeout:  o.PingTimeout,
		Logger:       o.Logger,
	})
}
