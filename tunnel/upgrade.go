package tunnel

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// upgradeTimeout is how long AcceptOptions.Upgrade may take.
const upgradeTimeout = 30 * time.Second

// Upgrade is the response to a handshake and the use of its WebSocket. The zero value
// starts a session.
type Upgrade struct {
	// Header has additional headers of the response, but not Upgrade, Connection and
	// Sec-WebSocket-*.
	Header http.Header

	// Subprotocols, if not nil, replaces AcceptOptions.Subprotocols. The response has
	// the first one that the handshake offers, if any.
	Subprotocols []string

	// Serve, if set, uses the WebSocket instead of a session: it owns and must
	// close conn. The Acceptor counts conn as a session until Serve returns.
	Serve func(conn *websocket.Conn)

	// Hijack, if set, takes over the connection before the response: it writes that, and
	// must close conn. The Acceptor counts conn as a session until Hijack returns.
	Hijack func(conn net.Conn)
}

// callUpgrade calls AcceptOptions.Upgrade. cancel ends the context of r.
func (a *Acceptor) callUpgrade(w http.ResponseWriter, r *http.Request, cancel context.CancelCauseFunc) (*Upgrade, *RefusalError) {
	if a.opts.Upgrade == nil {
		return &Upgrade{}, nil
	}
	// The server's timeouts, which are too short for an Upgrade, would end r's context
	// and the response. gorilla clears the new deadlines when it takes the connection.
	rc, deadline := http.NewResponseController(w), time.Now().Add(upgradeTimeout+handshakeTimeout)
	_ = rc.SetReadDeadline(deadline)
	_ = rc.SetWriteDeadline(deadline)

	limit, stop := context.WithTimeoutCause(a.closing, upgradeTimeout, netdiag.TimeoutError(upgradeTimeout))
	defer stop()
	release := context.AfterFunc(limit, func() { cancel(context.Cause(limit)) })
	up, err := a.opts.Upgrade(r)
	if !release() && err == nil {
		err = context.Cause(limit)
	}
	if err != nil {
		refusal := &RefusalError{Code: http.StatusBadGateway, Err: err}
		if own, ok := errors.AsType[*RefusalError](err); ok {
			refusal.Code, refusal.Header = own.Code, own.Header
		}
		return nil, refusal
	}
	if up == nil {
		up = &Upgrade{}
	}
	return up, nil
}
