package tunnel

import (
	"log/slog"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// The defaults of SessionOptions.
const (
	DefaultPingInterval = 30 * time.Second
	DefaultPingTimeout  = 90 * time.Second
)

// SessionOptions adjusts the sessions that Dial and an Acceptor make. Its zero
// value means the defaults.
type SessionOptions struct {
	// Role is the yamux role. Default: wsmux.Client.
	Role wsmux.Role

	// Window is the receive window of each stream in bytes, 256 KiB at the
	// least. Default: one that grows, see wsmux.Options.
	Window uint32

	// PingInterval is how often a WebSocket Ping is sent. A negative one
	// sends none. Default: DefaultPingInterval.
	PingInterval time.Duration

	// PingTimeout is how long the peer may be silent: anything that it sends
	// counts, not Pongs alone. A negative one waits for ever.
	// Default: DefaultPingTimeout.
	PingTimeout time.Duration

	// Logger gets what yamux has to say, at debug level, and refused streams,
	// at warn level. Default: discarded.
	Logger *slog.Logger
}

// start makes ws, which it takes over, a session that is kept alive.
func (o *SessionOptions) start(ws *websocket.Conn) (*wsmux.Session, error) {
	limitUnsent(ws.NetConn())
	session, err := wsmux.NewSession(ws, o.Role, &wsmux.Options{Window: o.Window, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	l := liveness{
		session:  session,
		interval: orDefault(o.PingInterval, DefaultPingInterval),
		timeout:  orDefault(o.PingTimeout, DefaultPingTimeout),
	}
	go l.run()
	return session, nil
}
